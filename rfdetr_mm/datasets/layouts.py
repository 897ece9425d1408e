"""Where annotation files and images lie in the folder of a data set."""

import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from rfdetr_mm.errors import InputError

from .shards.shard_index import index_name
from .yolo_layout import (
    YAML_NAMES,
    find_yolo_yamls,
    read_lines,
    read_yolo_yaml,
)

SPLITS = ('train', 'val', 'test')
_NUM_PROBED_IMAGES = 8
_NUM_SHOWN_ENTRIES = 12


# Per split, the annotation files that may be its own, relative to the folder.
Candidates = dict[str, list[str]]


def _roboflow_candidates(root: str) -> Candidates:
    folders = dict(train='train', val='valid', test='test')
    return {
        split: _existing(root, f'{folder}/_annotations.coco.json')
        for split, folder in folders.items()
    }


def _coco_candidates(root: str) -> Candidates:
    names = _entries(os.path.join(root, 'annotations'))
    # Not instances_trainval2017 and not instances_valminusminival2014.
    return {
        split: [
            f'annotations/{name}'
            for name in names
            if re.fullmatch(rf'instances_{split}(?![A-Za-z]).*\.json', name)
        ]
        for split in SPLITS
    }


def _flat_candidates(root: str) -> Candidates:
    return {split: _existing(root, f'{split}.json') for split in SPLITS}


def _shard_candidates(root: str) -> Candidates:
    return {split: _existing(root, index_name(split)) for split in SPLITS}


def _yolo_candidates(root: str) -> Candidates:
    names = find_yolo_yamls(root)
    # Exported files name test images that are not there.
    with_test = [
        name
        for name in names
        if read_yolo_yaml(os.path.join(root, name)).has_split('test')
    ]
    return dict(train=names, val=names, test=with_test)


def _existing(root: str, name: str) -> list[str]:
    return [name] if os.path.isfile(os.path.join(root, name)) else []


_FINDERS: dict[str, Callable[[str], Candidates]] = {
    'roboflow': _roboflow_candidates,
    'coco': _coco_candidates,
    'flat': _flat_candidates,
    'webdataset': _shard_candidates,
    'yolo': _yolo_candidates,
}
_DESCRIPTIONS = {
    'roboflow': '{train,valid,test}/_annotations.coco.json',
    'coco': 'annotations/instances_{train,val,test}*.json',
    'flat': '{train,val,test}.json',
    'webdataset': '{train,val,test}-index.json',
    'yolo': f'{" or ".join(YAML_NAMES)}, or another YAML file with names',
}
LAYOUTS = tuple(_FINDERS)


def detect_layout(
    root: str,
    layout: str = 'auto',
    given: Collection[str] = (),
    splits: Sequence[str] = SPLITS,
) -> tuple[str | None, dict[str, str]]:
    """Find the annotation files in the folder of a data set.

    Known layouts: ``roboflow`` (an export of Roboflow in its format COCO),
    ``coco`` (as COCO itself comes), ``flat`` (one file per split beside the
    images' folder), ``webdataset`` (shards, as ``rfdetr-mm pack`` and rfdetr
    write them) and ``yolo`` (``data.yaml``, ``data.yml`` or the only
    other YAML file with ``names``, one file for all splits, see
    ``YoloDataset``).

    Args:
        root: The folder.
        layout: One of ``LAYOUTS``, or ``'auto'`` for the one that fits.
        given: Splits whose annotation files are known already. Nothing is
            looked for if these are all but the test split.
        splits: Splits that are looked for.

    Returns:
        Name of the layout, None if nothing was found or looked for, and the
        annotation files of the splits that are not given, relative to
        ``root``. A test split may be missing.

    Raises:
        InputError: If the folder does not exist, fits no layout or several,
            has no file for a split but the test split, or several for one.
    """
    if layout not in ('auto', *LAYOUTS):
        raise InputError(
            f'dataset_layout is {layout!r}, it must be one of auto, '
            f'{", ".join(LAYOUTS)}.'
        )
    if not os.path.isdir(root):
        what = 'is not a folder' if os.path.exists(root) else 'does not exist'
        raise InputError(
            f'The folder of the data set, {root}, {what}; name yours by '
            'dataset_dir in Python, for a tool by --cfg-options data_root=DIR.'
        )
    found = {
        name: files
        for name, finder in _FINDERS.items()
        if layout in ('auto', name) and any((files := finder(root)).values())
    }
    if len(found) > 1 and not {*found.get('yolo', {}).get('train', ())} & {
        *YAML_NAMES
    }:
        # A YAML file of any name is none of YOLO's beside another layout.
        found.pop('yolo', None)
    if {*splits} - {'test'} <= {*given} and len(found) != 1:
        return None, {}
    name = _the_only_layout(root, layout, found)
    wanted = [split for split in splits if split not in given]
    return name, _one_file_per_split(root, name, found[name], wanted)


def image_folders(ann_file: str, split: str) -> tuple[str, ...]:
    """Return where the images of an annotation file may be.

    Args:
        ann_file: Its path, relative to the folder of the data set.
        split: Its split, one of ``SPLITS``.

    Returns:
        Folders relative to that of the data set, the most likely first:
        beside the file, those named after the file (``train2017`` for
        ``instances_train2017.json``) and the split, and common ones.
    """
    beside, name = os.path.split(ann_file)
    name = name.removesuffix('.json').removeprefix('instances_')
    folders = (
        beside,
        name,
        split,
        f'images/{name}',
        f'images/{split}',
        'images',
    )
    return (*dict.fromkeys(folder for folder in folders if folder), '')


def find_images(
    root: str, ann_file: str, folders: Sequence[str], file_names: Sequence[str]
) -> str:
    """Decide where the images of an annotation file are.

    Args:
        root: The folder of the data set.
        ann_file: The annotation file, for the error.
        folders: Folders to try, relative to ``root``; at least one.
        file_names: The annotation file's ``file_name`` entries. They may
            contain folders. The first few are looked for.

    Returns:
        The first of the folders that holds the most of them.

    Raises:
        InputError: If none of the folders holds any of them.
    """
    names = file_names[:_NUM_PROBED_IMAGES]
    counts = [
        sum(os.path.isfile(os.path.join(root, f, name)) for name in names)
        for f in folders
    ]
    if not max(counts):
        tried = [os.path.join(root, folder, names[0]) for folder in folders]
        raise InputError(
            f'The images of {os.path.join(root, ann_file)} were not found. '
            f'For the first one there is no {", no ".join(tried)}.'
        )
    return folders[counts.index(max(counts))]


def _the_only_layout(
    root: str, layout: str, found: dict[str, Candidates]
) -> str:
    if len(found) > 1:
        raise InputError(
            f'{root} fits several layouts: '
            + ', '.join(f'{name} ({_files(found[name])})' for name in found)
            + '. Choose one, e.g. by --cfg-options '
            f'dataset_layout={list(found)[-1]}, in Python by dataset_file='
            f'{list(found)[-1]!r}.'
        )
    if not found:
        wanted = LAYOUTS if layout == 'auto' else (layout,)
        looked_for = '; '.join(f'{_DESCRIPTIONS[n]} ({n})' for n in wanted)
        raise InputError(
            f'No data set was found in {root}. Looked for: {looked_for}. '
            + _content(root)
            + _hint(root)
        )
    return next(iter(found))


def _one_file_per_split(
    root: str, layout: str, found: Candidates, splits: Sequence[str]
) -> dict[str, str]:
    files = {}
    for split in splits:
        candidates = found[split]
        option = f'--cfg-options {split}_dataloader.dataset.ann_file=FILE'
        if len(candidates) > 1:
            raise InputError(
                f'{root} has several files for the split {split!r}: '
                f'{" and ".join(candidates)}. Choose one by {option}.'
            )
        if candidates:
            files[split] = candidates[0]
        elif split != 'test':
            message = (
                f'{root} has no file for the split {split!r}. Found in the '
                f'layout {layout}, {_DESCRIPTIONS[layout]}: {_files(found)}. '
                f'Name a file of another name or place by {option}.'
            )
            if layout != 'yolo':
                message += (
                    ' To make the splits of one annotation file: rfdetr-mm '
                    'split FILE --out DIR.'
                )
            if split == 'train':
                message += (
                    ' The class names are read from it; to test a trained '
                    'model without it, use the config in its work dir.'
                )
            raise InputError(message)
    return files


def _files(candidates: Candidates) -> str:
    return ', '.join(file for files in candidates.values() for file in files)


def _entries(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _content(root: str) -> str:
    names = [
        f'{name}/' if os.path.isdir(os.path.join(root, name)) else name
        for name in _entries(root)
    ]
    if not names:
        return 'The folder is empty.'
    more = f', … ({len(names)})' if len(names) > _NUM_SHOWN_ENTRIES else ''
    return f'The folder holds: {", ".join(names[:_NUM_SHOWN_ENTRIES])}{more}.'


def _hint(root: str) -> str:
    """What the folder probably is instead; empty if nothing is known."""
    for name in _entries(root):
        inner = os.path.join(root, name)
        if any(any(f(inner).values()) for f in _FINDERS.values()):
            return f' Did you mean the folder {inner}?'
    if {'Annotations', 'JPEGImages'} <= set(_entries(root)):
        return (
            ' This is the layout of Pascal VOC: see '
            'configs/rfdetr/rfdetr_nano_voc.py.'
        )
    return _hint_at_labels(root) or _hint_at_one_file(root)


def _hint_at_labels(root: str) -> str:
    """For labels of YOLO that came without the file that names the classes."""
    names = 'cat, dog'
    for name in ('classes.txt', 'obj.names'):
        path = Path(root) / name
        if path.is_file():
            names = ', '.join(line for line in read_lines(path) if line)
            break
    else:
        if not any(Path(root, 'labels').glob('*.txt')):
            return ''
    return (
        ' These look like YOLO labels without data.yaml. Write that file, '
        f'with the lines "names: [{names}]", "train: FOLDER" and "val: '
        'FOLDER", of the images, see docs/own_data.md.'
    )


def _hint_at_one_file(root: str) -> str:
    """For a folder with an annotation file that is of no split."""
    files = sorted(Path(root).glob('*.json'))
    files += sorted(Path(root, 'annotations').glob('*.json'))
    if not files:
        return ''
    return (
        ' To make the splits of one COCO annotation file: rfdetr-mm split '
        f'{files[0]} --out DIR.'
    )
