"""Fit a config to a data set of which it knows the folder alone."""

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmengine.config import Config, ConfigDict

from rfdetr_mm.errors import InputError

from .coco_file import CocoFile, class_names, label_of_category
from .columns import aligned
from .joined import reconcile_joined_classes
from .keypoint_reader import KeypointReader
from .layouts import SPLITS
from .orientation import apply_orientation
from .shared_images import warn_of_shared_images
from .splits import Split, check_names_known, find_splits

_MAX_LISTED_CLASSES = 100
_METRICS = ('NamedCocoMetric', 'NamedOksMetric', 'VernierCocoMetric')


def resolve_own_data(cfg: Config, only: str | None = None) -> str | None:
    """Fill in what a config leaves open about its data set.

    A config asks for it by ``dataset_layout``, ``'auto'`` or a layout of
    :func:`~rfdetr_mm.datasets.layouts.detect_layout`. From the folder
    ``data_root`` this sets, in place:

    * in the innermost data set of the three data loaders ``data_root``
      (absolute), ``ann_file``, ``data_prefix.img`` and ``metainfo.classes``,
    * ``ann_file`` of the evaluators, where it is empty (None in the layout
      ``yolo``, where the truth comes with the images),
    * every ``num_classes`` in ``model``, and ``num_keypoints`` of a keypoint
      head, as the training file has them.

    An ``ann_file`` or ``data_prefix.img`` of a data set that is not empty is
    kept, and so are ``metainfo.classes`` of the training set. Without them
    the classes are those of the training file, by category id, without
    unused parent categories. Without a test split the validation split is
    tested. With ``crowd_as_object=True`` in the config, data sets and metrics
    take what is marked as a crowd for an object. ``dataset_layout`` is
    removed, so that the config is an ordinary one from then on; if there is
    an error, the config is unchanged.

    With ``apply_orientation=True`` in any config all loaders of pictures turn
    them by their EXIF orientation, and so do labels in the YOLO layout.

    In a config that names its files, the parts of joined data sets get one
    order of the classes, see
    :func:`~rfdetr_mm.datasets.joined.reconcile_joined_classes`.

    Args:
        cfg: The config, with all options merged.
        only: 'val' or 'test', to look at this split alone. Then
            ``metainfo.classes`` of the training set must be given.

    Returns:
        What was found, lines of text for the log; None if the config does
        not ask for it.

    Raises:
        InputError: If the folder, an annotation file or the class names
            cannot be used.
    """
    if cfg.pop('apply_orientation', False):
        for part in list(cfg.values()):
            apply_orientation(part)
    if 'dataset_layout' not in cfg:
        reconcile_joined_classes(cfg)
        return None
    root = _data_root(cfg)
    datasets = {split: _innermost_dataset(cfg, split) for split in SPLITS}
    wanted = SPLITS if only is None else (only,)
    layout, splits = find_splits(cfg.dataset_layout, root, datasets, wanted)
    if not splits:  # no test split
        layout, splits = find_splits(
            cfg.dataset_layout, root, datasets, ('val',)
        )
    classes = _class_names(datasets['train'], splits)
    warn_of_shared_images(root, splits)
    boxes = {
        name: _boxes_per_class(split.file, classes)
        for name, split in splits.items()
    }

    for name in wanted:
        source = name if name in splits else 'val'
        split = splits[source]
        _fill_in(datasets[name], root, split, classes)
        if layout == 'yolo':
            with_mask = any(
                'segm' in evaluator.get('metric', ())
                for evaluator in _evaluators(cfg, name)
            )
            _make_yolo_dataset(datasets[name], source, with_mask)
        if cfg.get('crowd_as_object'):
            _take_crowds_as_objects(datasets[name], _evaluators(cfg, name))
        for evaluator in _evaluators(cfg, name):
            if evaluator.get('ann_file') == '':
                evaluator.ann_file = (
                    None if layout == 'yolo' else split.file.path
                )
    if 'train' in splits:
        _set_num_keypoints(cfg.model, splits['train'].file, classes)
    _set_num_classes(cfg.model, len(classes))
    cfg.data_root = root
    cfg.pop('dataset_layout')
    cfg.pop('crowd_as_object', None)
    return '\n'.join(
        [
            f'Data set in {root}'
            + (f', layout {layout}:' if layout else ', files as given:'),
            *_table_of_splits(splits),
            *_note_on_test(splits, wanted),
            'Classes and their boxes:',
            *_table_of_classes(classes, boxes),
        ]
    )


def _data_root(cfg: Config) -> str:
    root = cfg.get('data_root')
    if not isinstance(root, str) or not root:
        raise InputError(
            f'data_root must be the path of a folder, not {root!r}. Give '
            'it by --cfg-options data_root=DIR; a folder named like a number '
            'is written ./123, one with a comma in its name must be renamed.'
        )
    return os.path.abspath(os.path.expanduser(root))


def _innermost_dataset(cfg: Config, split: str) -> ConfigDict:
    """Return the config of the data set within RepeatDataset and the like."""
    loader = cfg.get(f'{split}_dataloader') or {}
    dataset = loader.get('dataset')
    while isinstance(dataset, dict):
        if 'dataset' in dataset:
            dataset = dataset['dataset']
        elif 'datasets' not in dataset:
            return dataset
        elif len(dataset['datasets']) == 1:
            dataset = dataset['datasets'][0]
        else:
            raise InputError(
                f'{split}_dataloader joins {len(dataset["datasets"])} data '
                'sets, so that it is not clear which one data_root is for. '
                'Name files and classes of each in the config, and leave '
                'dataset_layout out.'
            )
    raise InputError(
        f'dataset_layout={cfg.dataset_layout!r} needs a data set in '
        f'{split}_dataloader, but the config has none there.'
    )


def _class_names(
    train_set: ConfigDict, splits: dict[str, Split]
) -> tuple[str, ...]:
    given = (train_set.get('metainfo') or {}).get('classes')
    if isinstance(given, (list, tuple)):
        return tuple(str(name) for name in given)
    if given is not None:
        raise InputError(
            'train_dataloader.dataset.metainfo.classes must be a list of '
            f'names, [a,b], not {given!r}.'
        )
    train_file = splits['train'].file
    classes = class_names(train_file)
    for split in splits.values():
        check_names_known(split.file, classes, train_file)
    return classes


def _boxes_per_class(file: CocoFile, classes: Sequence[str]) -> list[int]:
    label_of = label_of_category(file, classes)
    boxes = Counter(
        label_of.get(annotation['category_id'])
        for annotation in file.annotations
    )
    return [boxes[label] for label in range(len(classes))]


def _fill_in(
    dataset: ConfigDict, root: str, split: Split, classes: tuple[str, ...]
) -> None:
    dataset.data_root = root
    dataset.ann_file = split.ann_file
    prefix = dataset.get('data_prefix') or {}
    dataset.data_prefix = {**prefix, 'img': split.image_folder}
    metainfo = {**(dataset.get('metainfo') or {}), 'classes': classes}
    if len(classes) > len(CocoDataset.METAINFO['palette']):
        # Too few colours, on which mmdet's visualizer would stop; None: any.
        metainfo.setdefault('palette', None)
    dataset.metainfo = metainfo


def _make_yolo_dataset(
    dataset: ConfigDict, split: str, with_mask: bool
) -> None:
    """Read labels of the YOLO layout; the metric gets them by the images.

    Args:
        dataset: Changed in place.
        split: The split that it reads.
        with_mask: Whether its evaluator needs masks.
    """
    dataset.type = 'YoloDataset'
    dataset.split = split
    dataset.pop('data_prefix')
    if not dataset.get('test_mode'):
        return
    if with_mask:
        # As in training, where the pipeline says so.
        dataset.with_mask = True
    for transform in dataset.pipeline:
        if transform['type'] in ('PackDetInputs', 'PackPoseInputs'):
            transform.meta_keys = (*transform.meta_keys, 'instances')


def _take_crowds_as_objects(
    dataset: ConfigDict, evaluators: list[ConfigDict]
) -> None:
    """Let data set and metrics not look at ``iscrowd``."""
    for part in (dataset, *evaluators):
        if part.type in ('NamedCocoDataset', *_METRICS):
            part.crowd_as_object = True


def _evaluators(cfg: Config, split: str) -> list[ConfigDict]:
    evaluators = cfg.get(f'{split}_evaluator') or []
    return [evaluators] if isinstance(evaluators, dict) else list(evaluators)


def _set_num_classes(node: Any, num_classes: int) -> None:
    """Set ``num_classes`` wherever a part of the model has it."""
    if isinstance(node, dict):
        if 'num_classes' in node:
            node['num_classes'] = num_classes
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            _set_num_classes(child, num_classes)


def _set_num_keypoints(
    model: ConfigDict, file: CocoFile, classes: Sequence[str]
) -> None:
    """Set the keypoints of the classes, if the model has any."""
    head = model.get('bbox_head') or {}
    if 'num_keypoints' in head:
        label_of = label_of_category(file, classes)
        reader = KeypointReader.of_file(file, classes, label_of)
        head.num_keypoints = reader.counts


def _table_of_splits(splits: dict[str, Split]) -> list[str]:
    rows = [
        ('', 'annotations', 'images in', 'images', 'without boxes', 'boxes')
    ]
    for name, split in splits.items():
        file = split.file
        used = {annotation['image_id'] for annotation in file.annotations}
        numbers = (
            len(file.images),
            len(file.images) - len(used),
            len(file.annotations),
        )
        texts = (name, split.ann_file, split.image_folder or '.')
        rows.append((*texts, *map(str, numbers)))
    return aligned(rows, num_texts=3)


def _note_on_test(
    splits: dict[str, Split], wanted: Sequence[str]
) -> list[str]:
    if 'test' in splits or 'test' not in wanted:
        return []
    return ['  test: none, the val split is taken']


def _table_of_classes(
    classes: Sequence[str], boxes: dict[str, list[int]]
) -> list[str]:
    rows = [('', '', *boxes)]
    for label, name in enumerate(classes[:_MAX_LISTED_CLASSES]):
        counts = (str(counts[label]) for counts in boxes.values())
        rows.append((str(label), name, *counts))
    lines = aligned(rows, num_texts=2)
    if len(classes) > _MAX_LISTED_CLASSES:
        lines.append(f'  … ({len(classes)} classes)')
    return lines
