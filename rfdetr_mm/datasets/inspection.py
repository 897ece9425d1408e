"""Look at a data set by the rules of training, without training."""

import os
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from mmengine.logging import MMLogger

from rfdetr_mm.errors import InputError

from .bad_entries import BadEntries
from .coco_file import class_names, label_of_category, read_coco_file
from .columns import aligned
from .findings import ERROR, WARNING, Finding, Findings, Suspect
from .layouts import SPLITS, find_images, image_folders
from .object_checks import ObjectCounts, check_objects
from .picture_checks import (
    check_copies,
    check_label_files,
    check_pictures,
    check_unlisted,
)
from .shards import is_address
from .splits import Split, check_names_known, find_splits, read_yolo_splits
from .yolo_layout import read_yolo_yaml

_MAX_LISTED_CLASSES = 100
ONLY_FILE = 'file'  # the name of the split that a single file is
_YAML = ('.yaml', '.yml')


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Args:
        path: The folder or the file that was looked at.
        layout: One of ``layouts.LAYOUTS``; None for a single file.
        classes: The classes that training would learn.
        objects: Split to the numbers of its objects.
        pictures: Split to ``sizes``, ``orientations`` and ``missing``, see
            :func:`~rfdetr_mm.datasets.picture_checks.check_pictures`.
        copies: Paths of image files with equal bytes.
        findings: Errors first.
        suspects: Images that are worth a look.
    """

    path: str
    layout: str | None
    classes: tuple[str, ...]
    objects: dict[str, ObjectCounts]
    pictures: dict[str, dict[str, Any]]
    copies: list[list[str]]
    findings: list[Finding]
    suspects: list[Suspect]

    def is_ok(self, strict: bool = False) -> bool:
        """Whether there are no errors; with ``strict`` no warnings either."""
        bad = (ERROR, WARNING) if strict else (ERROR,)
        return not any(found.level in bad for found in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return the content as JSON can hold it, without the suspects."""
        return dict(
            path=self.path,
            layout=self.layout,
            ok=self.is_ok(),
            classes=list(self.classes),
            splits={
                name: {**counts.as_dict(), **self.pictures[name]}
                for name, counts in self.objects.items()
            },
            copies=self.copies,
            findings=[asdict(found) for found in self.findings],
        )


def inspect_data_set(
    path: str,
    layout: str = 'auto',
    image_folder: str | None = None,
    with_mask: bool = False,
    crowd_as_object: bool = False,
    decode: bool = False,
) -> Inspection:
    """Read a data set as training would, and look at what it holds.

    Args:
        path: The folder of a data set, or one annotation file.
        layout: A layout as for
            :func:`~rfdetr_mm.datasets.layouts.detect_layout`.
        image_folder: The folder that ``file_name`` of a single COCO file
            counts from; None: where training would look.
        with_mask: Whether objects need masks.
        crowd_as_object: Whether ``iscrowd`` is not looked at.
        decode: Whether to decode all images.

    Returns:
        What was found. What training would refuse is an error in it.

    Raises:
        InputError: If no split can be read; there is nothing to look at.
    """
    findings = Findings()
    with _quiet():
        layout_name, root, splits = _read(path, layout, image_folder, findings)
        _refuse_shards(splits)
        classes, label_of = _match_classes(splits, findings)
        paths_of, pictures = {}, {}
        for name, split in splits.items():
            folder = os.path.join(root, split.image_folder)
            images = split.file.images
            paths_of[name] = [
                os.path.join(folder, image['file_name']) for image in images
            ]
            pictures[name] = check_pictures(
                *(name, images, paths_of[name]),
                *(layout_name != 'yolo', decode, findings),
            )
        options = dict(with_mask=with_mask, crowd_as_object=crowd_as_object)
        objects = {
            name: check_objects(
                name, split, root, label_of[name], options, findings
            )
            for name, split in splits.items()
        }
        copies = check_copies(paths_of, findings)
        if layout_name == 'yolo':  # where folders say which images there are
            file = next(iter(splits.values())).file
            check_label_files(read_yolo_yaml(file.path), paths_of, findings)
        else:
            check_unlisted(paths_of, findings)
        _check_classes(classes, objects, findings)
    return Inspection(
        *(path, layout_name, classes, objects, pictures, copies),
        *(findings.sorted(), findings.suspects),
    )


@contextmanager
def _quiet() -> Any:
    """Let the readers log nothing: what they would say is in the report."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('ERROR')
    try:
        yield
    finally:
        logger.setLevel(level)


def _read(
    path: str, layout: str, image_folder: str | None, findings: Findings
) -> tuple[str | None, str, dict[str, Split]]:
    """Name of the layout, root and splits; each as far as it can be read."""
    if os.path.isfile(path) and not path.lower().endswith(_YAML):
        root, ann_file = os.path.split(os.path.abspath(path))
        bad_entries = BadEntries()
        file = read_coco_file(path, bad_entries=bad_entries)
        _report_bad(ONLY_FILE, bad_entries, findings)
        names = [image['file_name'] for image in file.images]
        folders = image_folders(ann_file, ann_file.removesuffix('.json'))
        if image_folder is not None:
            folders = (os.path.abspath(image_folder),)
        folder = find_images(root, ann_file, folders, names)
        return None, root, {ONLY_FILE: Split(ann_file, folder, file)}
    if image_folder is not None:
        raise InputError(
            'An image folder goes with a single COCO annotation file, and '
            f'{path} is none: a data set in a folder says where its images '
            'are. Leave the image folder out, or name the annotation file.'
        )
    errors, splits, layout_name = [], {}, None
    for name in SPLITS:
        bad_entries = BadEntries()
        try:
            if os.path.isfile(path):
                root, yaml_name = os.path.split(os.path.abspath(path))
                found_layout = 'yolo'
                found = {}
                if name != 'test' or read_yolo_yaml(path).has_split(name):
                    found = read_yolo_splits(
                        root, {name: yaml_name}, bad_entries
                    )
            else:
                root = os.path.abspath(path)
                found_layout, found = find_splits(
                    layout, root, {name: {}}, (name,), bad_entries
                )
        except InputError as error:
            errors.append(error)
            if error is not bad_entries.first:
                findings.add(ERROR, 'unusable split', str(error), name)
            continue
        finally:
            _report_bad(name, bad_entries, findings)
        layout_name = layout_name or found_layout
        splits.update(found)
    if not splits:
        raise errors[0]
    return layout_name, root, splits


def _report_bad(
    name: str, bad_entries: BadEntries, findings: Findings
) -> None:
    for rule, number in bad_entries.counts.items():
        text = f'{name}: {rule}, but {number} are not so.'
        if number == 1:
            text = f'{name}: {rule}, but one is not so.'
        examples = bad_entries.examples[rule]
        findings.add(ERROR, 'wrong entry', text, name, number, examples)


def _refuse_shards(splits: dict[str, Split]) -> None:
    for split in splits.values():
        if is_address(split.file.images[0]['file_name']):
            raise InputError(
                f'The images of {split.file.path} are in shards, which are '
                'read but not looked at. Run rfdetr-mm check on the data set '
                'that they were made of.'
            )


def _match_classes(
    splits: dict[str, Split], findings: Findings
) -> tuple[tuple[str, ...], dict[str, dict[int, int]]]:
    """Classes of the training set, and the labels of each split."""
    first = splits.get('train') or next(iter(splits.values()))
    classes = class_names(first.file)
    label_of = {}
    for name, split in splits.items():
        # Of names that do not fit: all, so that their boxes are looked at.
        label_of[name] = {c['id']: 0 for c in split.file.categories}
        try:
            check_names_known(split.file, classes, first.file)
            label_of[name] = label_of_category(split.file, classes)
        except InputError as error:
            findings.add(ERROR, 'class names', str(error), name)
    return classes, label_of


def _check_classes(
    classes: Sequence[str],
    objects: dict[str, ObjectCounts],
    findings: Findings,
) -> None:
    for name, counts in objects.items():
        empty = [c for c in classes if not counts.per_class[c]]
        if empty and counts.boxes:
            findings.add(
                WARNING,
                'class without boxes',
                f'{name}: {len(empty)} of {len(classes)} classes have no box '
                'here.',
                name,
                len(empty),
                empty,
            )


def report_lines(found: Inspection) -> list[str]:
    """Write an inspection as text.

    Args:
        found: The inspection.

    Returns:
        Lines: tables of splits, image sizes and classes, then the findings.
    """
    layout = f', layout {found.layout}' if found.layout else ''
    lines = [f'{found.path}{layout}']
    header = ('', 'images', 'background', 'boxes', 'ignored', 'left out')
    rows = [(*header, 'small', 'medium', 'large')]
    for name, c in found.objects.items():
        numbers = (c.images, c.background, c.boxes, c.ignored)
        sizes = (c.left_out.total(), c.small, c.medium, c.large)
        rows.append((name, *map(str, (*numbers, *sizes))))
    lines += aligned(rows, num_texts=1)
    lines += ['Sizes of the images, height and width in pixels:']
    rows = [('', 'min', 'median', 'max', 'different', 'turned')]
    for name, content in found.pictures.items():
        if sizes := content['sizes']:
            sides = [
                f'{sizes["height"][key]} x {sizes["width"][key]}'
                for key in ('min', 'median', 'max')
            ]
            kinds = content['orientations']
            turned = sum(kinds.values()) - kinds.get('1', 0)
            numbers = (str(sizes['different']), str(turned))
            rows.append((name, *sides, *numbers))
    lines += aligned(rows, num_texts=1)
    lines += ['Classes and their boxes:', *_class_table(found)]
    for finding in found.findings:
        lines.append(f'{finding.level}: {finding.text}')
        lines += [f'    {example}' for example in finding.examples]
    return lines


def _class_table(found: Inspection) -> list[str]:
    rows = [('', '', *found.objects)]
    for label, name in enumerate(found.classes[:_MAX_LISTED_CLASSES]):
        boxes = (str(c.per_class[name]) for c in found.objects.values())
        rows.append((str(label), name, *boxes))
    lines = aligned(rows, num_texts=2)
    if len(found.classes) > _MAX_LISTED_CLASSES:
        lines.append(f'  … ({len(found.classes)} classes)')
    return lines
