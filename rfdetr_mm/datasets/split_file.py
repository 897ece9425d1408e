"""Make the splits of a data set from one annotation file."""

import csv
import json
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from rfdetr_mm.errors import InputError

from .coco_file import CocoFile, class_names, read_coco_file
from .columns import aligned
from .image_folders import compare_with_folders
from .layouts import find_images, image_folders
from .stratified import check_shares, divide

# As Roboflow names them; images lie beside the annotation file.
FOLDERS = ('train', 'valid', 'test')
ANN_FILE = '_annotations.coco.json'


@dataclass(frozen=True)
class SplitResult:
    """What was written.

    Args:
        folder: The folder of the data set.
        names: The folders of the parts.
        images: Number of images of each part.
        boxes: Class to its number of boxes in each part.
        num_groups: Groups of images that were kept together.
        unmatched: Images whose file name the expression does not match, and
            which are groups of their own.
    """

    folder: str
    names: tuple[str, ...]
    images: tuple[int, ...]
    boxes: dict[str, tuple[int, ...]]
    num_groups: int
    unmatched: int

    def lines(self) -> list[str]:
        """Return a table of the parts, as lines of text."""
        rows = [('', *self.names)]
        rows.append(('images', *map(str, self.images)))
        rows += [(n, *map(str, counts)) for n, counts in self.boxes.items()]
        lines = [f'{self.folder}:', *aligned(rows, num_texts=1)]
        if self.num_groups != sum(self.images):
            lines.append(f'{self.num_groups} groups of images')
        if self.unmatched:
            lines.append(
                f'{self.unmatched} file names do not match and are groups of '
                'their own'
            )
        return lines


def split_file(
    path: str,
    folder: str,
    shares: Sequence[float],
    seed: int = 0,
    group_by: str | None = None,
    image_folder: str | None = None,
    copy: bool = False,
) -> SplitResult:
    """Write a data set in Roboflow's layout, with two or three splits.

    Every image, with its annotations, is in one split. The same file, shares
    and seed give the same splits. For the shares of the classes see
    :func:`~rfdetr_mm.datasets.stratified.divide`. If something fails, there
    is no folder.

    Args:
        path: A COCO annotation file.
        folder: Where to write; it must be empty, or not there.
        shares: The shares of the images, for training, validation and test.
        seed: The seed of the order of images that are alike.
        group_by: Images of a group are kept together. A regular expression:
            the group is what its first parentheses, or else the whole of it,
            match in ``file_name``. Or a CSV file: ``file_name,group``.
        image_folder: The folder that ``file_name`` counts from; None: where
            training would look.
        copy: Whether to copy images that could be linked (a hard link, which
            takes no room).

    Returns:
        What was written.

    Raises:
        InputError: If the folder is not empty, the file or an image cannot
            be used, or there are too few images.
    """
    check_shares(shares)
    if len(shares) > len(FOLDERS):
        raise InputError(
            f'There are at most {len(FOLDERS)} parts, for training, '
            f'validation and test, but {len(shares)} shares were given.'
        )
    _check_folder(folder)
    file = read_coco_file(path)
    sources = _image_files(path, file, image_folder)
    groups, unmatched = _groups(file, group_by)
    part_of_group = _divide(file, groups, shares, seed)
    part_of = {
        image['id']: part_of_group[group]
        for image, group in zip(file.images, groups)
    }
    names = FOLDERS[: len(shares)]
    others = _other_content(path)
    with _new_folder(Path(folder)) as target:
        for part, name in enumerate(names):
            images = [i for i in file.images if part_of[i['id']] == part]
            content = dict(
                others,
                images=_place_images(images, sources, target / name, copy),
                annotations=[
                    a
                    for a in file.annotations
                    if part_of[a['image_id']] == part
                ],
                categories=list(file.categories),
            )
            (target / name / ANN_FILE).write_text(json.dumps(content))
    return _result(folder, file, names, part_of, len({*groups}), unmatched)


def _check_folder(folder: str) -> None:
    if os.path.isdir(folder):
        if os.listdir(folder):
            raise InputError(
                f'The folder {folder} is not empty. Name another one: nothing '
                'is written over.'
            )
    elif os.path.lexists(folder):
        raise InputError(f'{folder} is not a folder. Name another one.')


def _image_files(
    path: str, file: CocoFile, image_folder: str | None
) -> dict[int, str]:
    """Image id to the path of its file."""
    root, ann_file = os.path.split(os.path.abspath(path))
    names = [image['file_name'] for image in file.images]
    folders = image_folders(ann_file, ann_file.removesuffix('.json'))
    if image_folder is not None:
        folders = (os.path.abspath(image_folder),)
    found = os.path.join(root, find_images(root, ann_file, folders, names))
    paths = [os.path.join(found, name) for name in names]
    missing, _ = compare_with_folders(paths)
    if missing:
        raise InputError(
            f'{path}: {len(missing)} of {len(paths)} image files are not '
            f'there, such as {missing[0]}. Copy them, remove them from '
            'images, or name their folder by --images DIR.'
        )
    return {image['id']: p for image, p in zip(file.images, paths)}


def _groups(file: CocoFile, group_by: str | None) -> tuple[list[Any], int]:
    """The group of each image, and how many have one of their own."""
    names = [image['file_name'] for image in file.images]
    if group_by is None:
        return list(range(len(names))), 0
    if os.path.isfile(group_by):
        group_of = _read_groups(group_by)
        found = [group_of.get(name) for name in names]
    else:
        try:
            pattern = re.compile(group_by)
        except re.error as error:
            raise InputError(
                f'--group-by {group_by!r} is neither a file nor a regular '
                f'expression: {error}'
            ) from error
        matches = [pattern.search(name) for name in names]
        found = [m and m.group(1 if pattern.groups else 0) for m in matches]
    if all(group is None for group in found):
        raise InputError(
            f'--group-by {group_by!r} gives no image a group. The first file '
            f'name is {names[0]!r}.'
        )
    unmatched = sum(group is None for group in found)
    # Numbers are no texts, so that they are no group of the expression's.
    return [i if g is None else g for i, g in enumerate(found)], unmatched


def _read_groups(path: str) -> dict[str, str]:
    group_of: dict[str, str] = {}
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'{path} cannot be read as CSV: {error}') from error
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        if len(row) != 2:
            raise InputError(
                f'{path}, line {number}: expected file_name,group, got '
                f'{len(row)} columns.'
            )
        name, group = row
        if group_of.setdefault(name, group) != group:
            raise InputError(
                f'{path}, line {number}: {name} is in the groups '
                f'{group_of[name]!r} and {group!r}.'
            )
    return group_of


def _divide(
    file: CocoFile, groups: Sequence[Any], shares: Sequence[float], seed: int
) -> dict[Any, int]:
    """Group to its part."""
    names = list(dict.fromkeys(groups))
    group_of = {i['id']: group for i, group in zip(file.images, groups)}
    objects = defaultdict(Counter)
    for annotation in file.annotations:
        group = group_of[annotation['image_id']]
        objects[group][annotation['category_id']] += 1
    images = Counter(groups)
    parts = divide(
        [objects[name] for name in names],
        [images[name] for name in names],
        shares,
        seed,
    )
    return dict(zip(names, parts))


def _other_content(path: str) -> dict[str, Any]:
    """What the file holds beside the three lists, such as licences."""
    content = json.loads(Path(path).read_bytes())
    lists = ('images', 'annotations', 'categories')
    return {k: v for k, v in content.items() if k not in lists}


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder that appears complete or not at all."""
    folder = folder.absolute()
    part = folder.with_name(f'.{folder.name}.{os.getpid()}.part')
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.mkdir()
        yield part
        if folder.exists():
            folder.rmdir()  # it is empty
        part.rename(folder)
    finally:
        if part.exists():
            shutil.rmtree(part)


def _place_images(
    images: Sequence[dict[str, Any]],
    sources: dict[int, str],
    folder: Path,
    copy: bool,
) -> list[dict[str, Any]]:
    """Link or copy images; give their entries with the new names."""
    folder.mkdir()
    source_of: dict[str, str] = {}
    placed = []
    for image in images:
        source = sources[image['id']]
        path = PurePath(image['file_name'])
        if path.is_absolute() or '..' in path.parts:
            path = PurePath(path.name)
        name = path.as_posix()
        if source_of.setdefault(name, source) != source:
            raise InputError(
                f'{source_of[name]} and {source} would both be {name}. Give '
                'them different names.'
            )
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            _link_or_copy(source, target, copy)
        placed.append(dict(image, file_name=name))
    return placed


def _link_or_copy(source: str, target: Path, copy: bool) -> None:
    if not copy:
        try:
            os.link(os.path.realpath(source), target)
            return
        except OSError:  # another disk, or one that has no links
            pass
    shutil.copyfile(source, target)


def _result(
    folder: str,
    file: CocoFile,
    names: tuple[str, ...],
    part_of: dict[int, int],
    num_groups: int,
    unmatched: int,
) -> SplitResult:
    images = Counter(part_of.values())
    name_of = {c['id']: c['name'] for c in file.categories}
    boxes = Counter(
        (name_of[a['category_id']], part_of[a['image_id']])
        for a in file.annotations
    )
    parts = range(len(names))
    return SplitResult(
        folder,
        names,
        tuple(images[part] for part in parts),
        {
            name: tuple(boxes[name, part] for part in parts)
            for name in class_names(file)
        },
        num_groups,
        unmatched,
    )
