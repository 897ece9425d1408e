"""The one reader of class names, and of the data sets within wrappers."""

from collections.abc import Iterator, Mapping
from typing import Any

from rfdetr_mm_light.class_rows import as_names


def named_classes(metainfo: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Read the class names of a data set's or a checkpoint's meta data.

    Args:
        metainfo: It has ``classes``, or ``CLASSES`` as before mmdet 3; None
            has neither.

    Returns:
        The names; empty if there are none.
    """
    if not isinstance(metainfo, Mapping):  # of a file, maybe anything
        return ()
    return as_names(metainfo.get('classes', metainfo.get('CLASSES')))


def class_names_of_split(
    cfg: Mapping[str, Any], split: str
) -> tuple[str, ...]:
    """Read the class names that a config gives a split.

    Args:
        cfg: A config.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        Those of the innermost data set, or of the first joined one that has
        names; empty if the config leaves them to the data set.
    """
    loader = cfg.get(f'{split}_dataloader') or {}
    for dataset in innermost_datasets(loader.get('dataset')):
        if names := named_classes(dataset.get('metainfo')):
            return names
    return ()


def innermost_datasets(dataset: Any) -> Iterator[Any]:
    """Configs of the data sets within RepeatDataset, ConcatDataset and others.

    Args:
        dataset: Config of a data set; None has none within.

    Yields:
        Those that wrap no other one, in order.
    """
    if isinstance(dataset, (list, tuple)):
        for child in dataset:
            yield from innermost_datasets(child)
    elif isinstance(dataset, Mapping):
        within = dataset.get('dataset', dataset.get('datasets'))
        if within is None:
            yield dataset
        else:
            yield from innermost_datasets(within)
