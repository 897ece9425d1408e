"""Masks as COCO's compressed runs, without pycocotools.

A mask is read column by column, as lengths of runs that are in turn outside
and inside the object, beginning outside. From the fourth length on, the one
before the last is subtracted. Each number is then written in groups of five
bits, the lowest first, one character each.

Source: pycocotools 2.0, maskApi.h and rleToString (format).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_FIRST = 48  # the character '0' stands for five bits that are all 0
_MORE, _SIGN, _BITS = 0x20, 0x10, 5


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Encode a mask.

    Args:
        mask: True in the object, shape (h, w).

    Returns:
        ``size``, [h, w], and ``counts``, the text of the runs.
    """
    flat = np.concatenate([[False], mask.ravel(order='F'), [False]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    lengths = np.diff(ends, prepend=0, append=mask.size)
    if not lengths[-1]:  # the last run is inside
        lengths = lengths[:-1]
    return dict(size=list(mask.shape), counts=_to_text(lengths.tolist()))


def mask_area(segmentation: dict[str, Any]) -> int:
    """Count the pixels of an encoded mask.

    Args:
        segmentation: A result of :func:`encode_mask`.
    """
    return sum(list(_lengths(segmentation['counts']))[1::2])


def _to_text(lengths: Iterable[int]) -> str:
    characters = []
    before: list[int] = []
    for length in lengths:
        value = length - before[-2] if len(before) > 2 else length
        before.append(length)
        while True:
            bits, value = value & 0x1F, value >> _BITS
            done = value == (-1 if bits & _SIGN else 0)
            characters.append(chr(_FIRST + (bits if done else bits | _MORE)))
            if done:
                break
    return ''.join(characters)


def _lengths(text: str) -> Iterator[int]:
    before: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - _FIRST
        value |= (bits & 0x1F) << shift
        shift += _BITS
        if bits & _MORE:
            continue
        if bits & _SIGN:
            value -= 1 << shift
        length = value + before[-2] if len(before) > 2 else value
        before.append(length)
        yield length
        value = shift = 0
