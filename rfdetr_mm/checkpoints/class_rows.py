"""Class rows in weights: taken, scattered and resized.

Which rows they are says :mod:`rfdetr_mm_light.class_rows`, whose names are
here as well.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.class_rows import (
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    COCO_NUM_ROWS,
    choose_our_rows,
    choose_upstream_rows,
    default_class_names,
    generic_class_names,
)

__all__ = [
    'CLASS_ROW_WEIGHTS',
    'COCO_CATEGORY_IDS',
    'COCO_CLASSES',
    'COCO_NUM_ROWS',
    'SPARE_ROW_BIAS',
    'choose_our_rows',
    'choose_upstream_rows',
    'default_class_names',
    'generic_class_names',
    'resize_class_rows',
    'scatter_rows',
    'take_class_rows',
    'take_rows',
]

SPARE_ROW_BIAS = -20.0
"""Bias of rows that stand for no class: a score of 2e-9."""

CLASS_ROW_WEIGHTS = (
    ('bbox_head.cls_branch.weight', 0),
    ('bbox_head.cls_branch.bias', 0),
    ('bbox_head.query_selector.cls_branch.weight', 1),
    ('bbox_head.query_selector.cls_branch.bias', 1),
)
"""Our weights that have class rows, and the dimension that they are in."""


def take_rows(tensor: Tensor, rows: Sequence[int], dim: int) -> Tensor:
    """Return a copy of the given rows of ``tensor`` along ``dim``."""
    index = torch.tensor(rows, dtype=torch.long, device=tensor.device)
    return tensor.index_select(dim, index)


def scatter_rows(
    tensor: Tensor, rows: list[int], num_rows: int, dim: int, fill: float
) -> Tensor:
    """Put rows at new places among ``num_rows``, the others being ``fill``.

    The inverse of :func:`take_rows` up to the filled rows.
    """
    shape = list(tensor.shape)
    shape[dim] = num_rows
    index = torch.tensor(rows, dtype=torch.long, device=tensor.device)
    return tensor.new_full(shape, fill).index_copy(dim, index, tensor)


def take_class_rows(
    state_dict: Mapping[str, Tensor], rows: Sequence[int], prefix: str = ''
) -> dict[str, Tensor]:
    """Build the class rows of our weights anew from the old ones.

    Args:
        state_dict: Our weights, complete; class rows of any number.
        rows: The old row of each new one; a row may be taken several times.
        prefix: What stands before our keys, e.g. ``'module.'``.

    Returns:
        A new state dict; the other weights are the same objects.

    Raises:
        InputError: If a weight is missing.
    """
    taken = dict(state_dict)
    for name, dim in CLASS_ROW_WEIGHTS:
        key = prefix + name
        taken[key] = take_rows(_weight(taken, key), rows, dim)
    return taken


def _weight(state_dict: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state_dict:
        raise InputError(
            f'The weights have no {key!r}; is this a converted RF-DETR '
            'file? See tools/model_converters/rfdetr_to_mmdet.py.'
        )
    return state_dict[key]


def resize_class_rows(
    state_dict: Mapping[str, Tensor], num_classes: int, prefix: str = ''
) -> dict[str, Tensor]:
    """Re-initialise the class rows of our weights for other classes.

    The old rows are repeated ``ceil(num_classes / old)`` times and cut, so
    that the new classes start from trained, if unrelated, classifiers.

    Args:
        state_dict: Our weights, complete; class rows of any number.
        num_classes: Wanted number of class rows.
        prefix: What stands before our keys, e.g. ``'module.'``.

    Returns:
        A new state dict; the other weights are the same objects.

    Raises:
        InputError: If ``num_classes`` is below 1 or a weight is missing.

    Source: rfdetr 1.11.2, models/lwdetr.py
        LWDETR.reinitialize_detection_head.
    """
    if num_classes < 1:
        raise InputError(f'num_classes must be at least 1, got {num_classes}.')
    num_old = len(_weight(state_dict, prefix + CLASS_ROW_WEIGHTS[0][0]))
    rows = [i % num_old for i in range(num_classes)]
    return take_class_rows(state_dict, rows, prefix)
