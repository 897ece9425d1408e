"""Giving a checkpoint the decoder layers that it lacks."""

import re

from torch import Tensor

# Layers of the decoder, and the blocks of the mask branch that go with them.
_LAYER_KEY = re.compile(
    r'((?:module\.)?bbox_head\.(?:decoder\.layers|mask_branch\.blocks)\.)'
    r'(\d+)(\..*)'
)


def decoder_depth(state_dict: dict[str, Tensor]) -> int:
    """Count the decoder layers of a detector's weights."""
    layers = (_LAYER_KEY.fullmatch(key) for key in state_dict)
    return 1 + max((int(m[2]) for m in layers if m), default=-1)


def add_decoder_layers(
    state_dict: dict[str, Tensor], num_layers: int
) -> dict[str, Tensor]:
    """Repeat the last decoder layer until there are enough.

    A decoder layer of RF-DETR refines queries towards the same references
    and into the same branches as the others, so that a copy of the last one
    is a good start.

    Args:
        state_dict: A detector's weights in mmdet's keys, with one decoder
            layer at least.
        num_layers: Wanted decoder layers.

    Returns:
        The weights of the new layers alone; empty if none is missing.
    """
    known = decoder_depth(state_dict)
    added = {}
    for key, value in state_dict.items():
        match = _LAYER_KEY.fullmatch(key)
        if match is None or int(match[2]) != known - 1:
            continue
        for layer in range(known, num_layers):
            added[f'{match[1]}{layer}{match[3]}'] = value.clone()
    return added
