"""Find the splits of a data set in its folder, and read their files."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rfdetr_mm.errors import InputError

from .bad_entries import BadEntries
from .coco_file import CocoFile, listed, read_coco_file
from .layouts import SPLITS, detect_layout, find_images, image_folders
from .shards import is_address
from .yolo import read_yolo_split


@dataclass(frozen=True)
class Split:
    """What was found for one split; paths are relative to the data root.

    Args:
        ann_file: Its annotation file.
        image_folder: The folder that ``file_name`` of its images counts from.
        file: The content of the annotation file.
    """

    ann_file: str
    image_folder: str
    file: CocoFile


def find_splits(
    layout: str,
    root: str,
    datasets: Mapping[str, Mapping[str, Any]],
    wanted: Sequence[str],
    bad_entries: BadEntries | None = None,
) -> tuple[str | None, dict[str, Split]]:
    """Find and read the files; what the config names has precedence.

    Args:
        layout: A layout as for
            :func:`~rfdetr_mm.datasets.layouts.detect_layout`.
        root: The folder of the data set.
        datasets: The config of the data set of each split, which may name
            ``ann_file`` and ``data_prefix.img``.
        wanted: The splits that are looked for.
        bad_entries: Takes the entries that break a rule; None: the first one
            is an error.

    Returns:
        Name of the layout, None if the config names the files, and what was
        found of each split. A test split may be missing.

    Raises:
        InputError: If the folder, a file or the images of a split cannot be
            used.
    """
    given = {
        split: datasets[split]['ann_file']
        for split in wanted
        if datasets[split].get('ann_file')
    }
    found_layout, ann_files = detect_layout(root, layout, given, wanted)
    ann_files.update(given)
    if found_layout == 'yolo':
        return found_layout, read_yolo_splits(root, ann_files, bad_entries)
    files: dict[str, CocoFile] = {}
    splits = {}
    for split in (name for name in SPLITS if name in ann_files):
        ann_file = ann_files[split]
        if ann_file not in files:
            files[ann_file] = read_coco_file(
                os.path.join(root, ann_file), bad_entries=bad_entries
            )
        file = files[ann_file]
        prefix = (datasets[split].get('data_prefix') or {}).get('img')
        names = [image['file_name'] for image in file.images]
        folders = (prefix,) if prefix else image_folders(ann_file, split)
        # Images in shards lie in no folder.
        folder = ''
        if not is_address(names[0]):
            folder = find_images(root, ann_file, folders, names)
        splits[split] = Split(ann_file, folder, file)
    return found_layout, splits


def read_yolo_splits(
    root: str,
    ann_files: dict[str, str],
    bad_entries: BadEntries | None = None,
) -> dict[str, Split]:
    """Read splits of the YOLO layout.

    Args:
        root: The folder of the data set.
        ann_files: The YAML file of each split, relative to ``root``.
        bad_entries: As in :func:`find_splits`.

    Returns:
        The splits.

    Raises:
        InputError: If a file or an image cannot be used, or the validation
            split has no box.
    """
    splits = {}
    for split in (name for name in SPLITS if name in ann_files):
        path = os.path.join(root, ann_files[split])
        file = read_yolo_split(path, split, bad_entries)
        if split == 'val' and not file.annotations:
            raise InputError(
                f'{path}, split {split!r}: none of {len(file.images)} images '
                'has a box, so there is nothing to evaluate detections '
                f'against. The first image is {file.images[0]["file_name"]}; '
                'its label file must lie in the folder labels where its path '
                'has images, or beside it.'
            )
        folder = os.path.dirname(file.images[0]['file_name'])
        splits[split] = Split(
            ann_files[split], os.path.relpath(folder, root), file
        )
    return splits


def check_names_known(
    file: CocoFile, classes: Sequence[str], train_file: CocoFile
) -> None:
    """Complain about boxes of categories that training does not know.

    Args:
        file: The content of the split.
        classes: What is trained.
        train_file: Where the classes come from.

    Raises:
        InputError: With these categories and the numbers of their boxes.
    """
    names = {category['id']: category['name'] for category in file.categories}
    unknown = Counter(
        name
        for annotation in file.annotations
        if (name := names[annotation['category_id']]) not in classes
    )
    if unknown:
        counted = [f'{name} ({n})' for name, n in unknown.most_common()]
        raise InputError(
            f'{file.path} has boxes of categories that the training file '
            f'{train_file.path} does not have or never uses: '
            f'{listed(counted)}. Its classes are: {listed(classes)}. Use the '
            'same names in both files (upper and lower case count). To leave '
            'these boxes out, name the classes to be learnt by --cfg-options '
            '"train_dataloader.dataset.metainfo.classes=[a,b]".'
        )
