"""Fit converted weights to a model of another image size or query count."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .class_rows import CLASS_ROW_WEIGHTS
from .convert import raise_bad_keys

_POSITION_TABLE = 'backbone.pos_embed'
_QUERIES = ('bbox_head.query_embedding', 'bbox_head.query_box_deltas')
_SELECTOR = 'bbox_head.query_selector.'


def resize_position_table(table: Tensor, grid_size: int) -> Tensor:
    """Resize a position table to another square grid.

    Args:
        table: Shape (1, 1 + old_grid**2, embed_dims), class token first.
        grid_size: Wanted cells per side.

    Returns:
        Shape (1, 1 + grid_size**2, embed_dims): the class token's entry as
        it was, the others resized bicubically with antialiasing in float32.

    Source: rfdetr 1.11.2, models/weights.py
        interpolate_position_embeddings.
    """
    old_grid = math.isqrt(table.shape[1] - 1)
    if old_grid == grid_size:
        return table
    cls_entry, cells = table[:, :1], table[:, 1:]
    # (1, cells, embed_dims) -> (1, embed_dims, old_grid, old_grid)
    cells = cells.mT.unflatten(2, (old_grid, old_grid)).float()
    resized = F.interpolate(
        cells,
        size=(grid_size, grid_size),
        mode='bicubic',
        align_corners=False,
        antialias=True,
    )
    return torch.cat([cls_entry, resized.flatten(2).mT.to(table.dtype)], dim=1)


def fit_to_shapes(
    state_dict: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]
) -> tuple[dict[str, Tensor], list[str]]:
    """Fit our weights to a model, where that is well defined.

    The position table is resized. Query groups, and queries within each
    group, are cut to the first ones. Everything else has to agree.

    Args:
        state_dict: Our weights, complete. Not changed.
        shapes: Key to shape of the model's weights.

    Returns:
        New weights of exactly these keys and shapes, and one sentence per
        change.

    Raises:
        ValueError: If the class rows differ, or if any other key is unknown
            to the model, missing or mis-shaped; all are listed.
    """
    fitted = dict(state_dict)
    notes = []
    for key in fitted.keys() & shapes.keys():
        old, new = tuple(fitted[key].shape), tuple(shapes[key])
        if old == new:
            continue
        if key == _POSITION_TABLE and old[2:] == new[2:]:
            grid = math.isqrt(new[1] - 1)
            fitted[key] = resize_position_table(fitted[key], grid)
            notes.append(
                f'position table: {math.isqrt(old[1] - 1)}x'
                f'{math.isqrt(old[1] - 1)} resized to {grid}x{grid}'
            )
        elif key in _QUERIES or key.startswith(_SELECTOR):
            fitted[key] = _cut(fitted[key], new, 2 if key in _QUERIES else 1)
            if key == _QUERIES[0]:
                notes.append(
                    f'queries: {old[0]} groups of {old[1]} cut to '
                    f'{new[0]} groups of {new[1]}'
                )
    _check_class_rows(fitted, shapes)
    raise_bad_keys(
        {
            'unknown to the model': sorted(fitted.keys() - shapes.keys()),
            'missing': sorted(shapes.keys() - fitted.keys()),
            'of another shape': [
                f'{key} {list(fitted[key].shape)}, expected {list(shape)}'
                for key, shape in shapes.items()
                if key in fitted and tuple(fitted[key].shape) != tuple(shape)
            ],
        },
        'the model of the config',
        'Give the config that the weights belong to.',
    )
    return fitted, notes


def _cut(tensor: Tensor, shape: Sequence[int], num_dims: int) -> Tensor:
    """Keep the first groups (and queries); a copy, so that it saves small."""
    for dim in range(num_dims):
        size = min(shape[dim], tensor.shape[dim])
        tensor = tensor.narrow(dim, 0, size)
    return tensor.clone()


def _check_class_rows(
    state_dict: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]
) -> None:
    key, dim = CLASS_ROW_WEIGHTS[1]
    if key in state_dict and key in shapes:
        old, new = state_dict[key].shape[dim], shapes[key][dim]
        if old != new:
            raise ValueError(
                f'The weights have {old} class rows and the config has '
                f'num_classes={new}. A converter does not guess which '
                f'classes are meant: set num_classes={old} (and the data '
                "set's metainfo.classes), or train with load_from=FILE, "
                'which re-initialises the rows.'
            )
