"""Data sets that are joined: one order of the classes for all parts."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmdet.datasets import XMLDataset
from mmdet.registry import DATASETS

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import SPLITS
from rfdetr_mm.sizes.data_sets import innermost_datasets, named_classes

from .coco_file import listed
from .named_coco import NamedCocoDataset
from .yolo import YoloDataset
from .yolo_layout import read_yolo_yaml

# Their labels are the positions of the names in metainfo.classes. Those of
# mmdet's CocoDataset are the positions of the categories in the file.
_BY_NAME = (NamedCocoDataset, YoloDataset, XMLDataset)


def reconcile_joined_classes(cfg: Any) -> None:
    """Give the parts of joined data sets one order of the classes, in place.

    A label is a position in a list of names. ConcatDataset joins parts whose
    lists differ without a word, so that the same label would be another
    class in each part. Here every part of a loader, at any depth of
    wrappers, gets the list of the first one, and its meta data, which mmdet
    wants to be equal.

    Args:
        cfg: The config, its parts with files and, where needed, classes.

    Raises:
        InputError: If a part lacks a class of the others, or adds one, or
            its labels do not follow the names.
    """
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader') or {}
        parts = list(innermost_datasets(loader.get('dataset')))
        if len(parts) > 1 and not _evaluates_apart(cfg, split):
            _reconcile(parts, f'{split}_dataloader')


def _evaluates_apart(cfg: Mapping[str, Any], split: str) -> bool:
    """Whether each part has a metric of its own, as mmdet's ODinW configs."""
    evaluator = cfg.get(f'{split}_evaluator')
    kind = evaluator.get('type') if isinstance(evaluator, Mapping) else None
    return str(kind).endswith('MultiDatasetsEvaluator')


def _reconcile(parts: Sequence[Any], where: str) -> None:
    metas = [_metainfo(part) for part in parts]
    names = [named_classes(meta) for meta in metas]
    titles = [_title(part, i) for i, part in enumerate(parts)]
    check_same_classes(list(zip(titles, names)), where, any_order=True)
    for title, part, own in zip(titles, parts, names):
        kind = _class_of(part)
        if own != names[0] and not issubclass(kind, _BY_NAME):
            raise InputError(
                f'{where} joins data sets with their classes in another '
                f'order: {titles[0]} has {listed(names[0])}, '
                f'{title} has {listed(own)}. The labels of '
                f'{kind.__name__} follow the order of its file and not the '
                "names: take type='NamedCocoDataset'"
            )
    given = [part.get('metainfo') for part in parts]
    if all(meta == metas[0] for meta in metas) and all(
        meta == given[0] for meta in given
    ):
        return
    common: dict[str, Any] = {}
    for meta in reversed(metas):
        common.update(meta)
    common = {key: common[key] for key in common if key.upper() != 'CLASSES'}
    for part in parts:
        part['metainfo'] = {**common, 'classes': names[0]}


def check_same_classes(
    parts: Sequence[tuple[str, Sequence[str]]],
    where: str,
    any_order: bool = False,
) -> None:
    """Refuse joined data sets whose labels mean different classes.

    Args:
        parts: A title and the class names of each part.
        where: What joins them, for the message.
        any_order: Whether the same names in another order will do.

    Raises:
        InputError: With two parts, what differs and the way out.
    """
    (first, expected), *others = parts
    for title, names in others:
        if tuple(names) == tuple(expected):
            continue
        lacking = [name for name in expected if name not in names]
        added = [name for name in names if name not in expected]
        if not (lacking or added):
            if any_order and len(names) == len(expected):
                continue
            difference = 'has the same classes in another order'
        else:
            difference = ' and '.join(
                f'{verb} {listed(found)}'
                for verb, found in (('lacks', lacking), ('adds', added))
                if found
            )
        union = list(dict.fromkeys([*expected, *names]))
        raise InputError(
            f'{where} joins data sets of different classes: {title} '
            f'{difference}, compared with {first}, which has '
            f'{listed(expected) if expected else "no class names"}. One label '
            'must be one class in all parts: give every part the same '
            f'metainfo=dict(classes={tuple(union)}), or leave a part out'
        )


def joined_parts(dataset: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """List the data sets within wrappers, as :func:`check_same_classes` wants.

    Args:
        dataset: A built data set, at any depth of mmengine's and mmdet's
            wrappers.

    Yields:
        A title and the class names of each innermost data set.
    """
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from joined_parts(part)
    elif hasattr(dataset, 'dataset'):
        yield from joined_parts(dataset.dataset)
    else:
        meta = getattr(dataset, 'metainfo', None)
        file = getattr(dataset, 'ann_file', '')
        title = f'{type(dataset).__name__} {file}'.strip()
        yield title, named_classes(meta)


def _class_of(part: Mapping[str, Any]) -> type:
    kind = part['type']
    return kind if isinstance(kind, type) else DATASETS.get(kind)


def _title(part: Mapping[str, Any], number: int) -> str:
    file = part.get('ann_file') or 'no ann_file'
    return f'part {number} ({_class_of(part).__name__}, {file})'


def _metainfo(part: Mapping[str, Any]) -> dict[str, Any]:
    """The meta data that the data set of a config will have."""
    kind = _class_of(part)
    meta = {**getattr(kind, 'METAINFO', {}), **(part.get('metainfo') or {})}
    if not named_classes(meta) and issubclass(kind, YoloDataset):
        root = part.get('data_root') or ''
        names = read_yolo_yaml(os.path.join(root, part['ann_file'])).names
        meta['classes'] = names
    names = named_classes(meta)
    meta.pop('CLASSES', None)
    return {**meta, 'classes': names}
