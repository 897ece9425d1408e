"""Whether masks are needed, and the ``segmentation`` of COCO can be one."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rfdetr_mm.errors import InputError

MISSING = 'without mask'
DEGENERATE = 'with a mask without area'
_MIN_NUMBERS = 6  # three corners
_MAX_GROUPS = 8  # of a run's length, 40 bits


def loads_masks(transform: Any) -> bool:
    """Whether a transform of a pipeline, or its config, loads masks."""
    if isinstance(transform, dict):
        return bool(transform.get('with_mask'))
    return bool(getattr(transform, 'with_mask', False))


class CheckedMask(NamedTuple):
    """What is usable of an annotation's mask.

    Args:
        segmentation: Polygons with an area, or a run-length encoding; None
            if nothing is usable.
        problem: None, ``MISSING`` or ``DEGENERATE``.
        num_dropped: Polygons without area, which are left out of it.
    """

    segmentation: list[list[float]] | dict[str, Any] | None
    problem: str | None
    num_dropped: int


def check_mask(
    annotation: dict[str, Any], image: dict[str, Any], path: str
) -> CheckedMask:
    """Take what is usable of an annotation's mask, and say what is not.

    Args:
        annotation: Its ``segmentation`` is a list of polygons (x1, y1, x2,
            y2, ... in pixels, or pairs [x, y]; also one polygon of pairs) or
            a run-length encoding, a dict with ``size`` (h, w) and
            ``counts``, compressed or not.
        image: Its image, with ``height`` and ``width`` in pixels, None where
            they are not known.
        path: The annotation file, for the error.

    Returns:
        The mask. Polygons of less than three corners or without area are
        left out of it: pycocotools takes four numbers for a box, and fails
        on other counts.

    Raises:
        InputError: If it is neither polygons nor a run-length encoding, or
            an encoding for an image of another size.
    """
    found = annotation.get('segmentation')
    where = f'{path}: segmentation of the annotation {annotation["id"]}'
    if isinstance(found, dict):
        problem = _find_rle_problem(found, image, where)
        return CheckedMask(None if problem else found, problem, 0)
    if found is None or found == []:
        return CheckedMask(None, MISSING, 0)
    polygons = _polygons(found, where)
    kept = [polygon for polygon in polygons if polygon_area(polygon) > 0]
    num_dropped = len(polygons) - len(kept)
    if not kept:
        return CheckedMask(None, DEGENERATE, num_dropped)
    return CheckedMask(kept, None, num_dropped)


def _polygons(found: Any, where: str) -> list[list[float]]:
    """Flat polygons of all forms that exporters write."""
    if isinstance(found, list) and all(map(_is_pair, found)):
        found = [found]  # a polygon of pairs
    if isinstance(found, list) and all(isinstance(p, list) for p in found):
        flat = [
            [x for pair in polygon for x in pair]
            if polygon and all(map(_is_pair, polygon))
            else polygon
            for polygon in found
        ]
        if all(type(x) in (int, float) for polygon in flat for x in polygon):
            return flat
    raise InputError(
        f'{where} must be a list of polygons ([[x1, y1, x2, y2, ...], ...], '
        'or pairs [x, y]) or a run-length encoding with size and counts, got '
        f'{str(found)[:60]}'
    )


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(x) in (int, float) for x in value)
    )


def polygon_area(polygon: list[float]) -> float:
    """Area in pixels; 0 if there are too few or no numbers.

    Args:
        polygon: x1, y1, x2, y2, ... in pixels.
    """
    if len(polygon) < _MIN_NUMBERS or len(polygon) % 2:
        return 0.0
    try:
        x, y = np.asarray(polygon, dtype=float).reshape(-1, 2).T
    except OverflowError:  # whole numbers may have any size
        return 0.0
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    return float(area) if np.isfinite(area) else 0.0


def mask_area(annotation: dict[str, Any]) -> float:
    """Area of an annotation's mask in pixels.

    Args:
        annotation: It may have a ``segmentation`` of any form.

    Returns:
        Sum of the polygons' areas or pixels of the run-length encoding; 0 if
        there is none, or it is not usable.
    """
    found = annotation.get('segmentation')
    if isinstance(found, list) and found:
        try:
            return sum(map(polygon_area, _polygons(found, '')))
        except InputError:  # told where masks are wanted
            return 0.0
    if not isinstance(found, dict):
        return 0.0
    runs, size = _runs(found.get('counts')), found.get('size')
    if runs is None or not _is_size(size) or _pixels(runs) != math.prod(size):
        return 0.0
    return float(_pixels(runs[1::2]))


def _is_size(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(side) is int and side > 0 for side in value)
    )


def _pixels(runs: Sequence[int]) -> int:
    return sum(map(int, runs))


def _runs(counts: Any) -> Sequence[int] | None:
    """Lengths of the runs of background and mask, in turn; None if unusable.

    Texts are those of pycocotools: each length is written in groups of five
    bits, the lowest first; a sixth bit says that more follow, and the fifth
    one of the last group is the sign. From the fourth length on it is the
    difference from the last but one.

    Source: the format of pycocotools, maskApi.c, rleToString (BSD).
    """
    if isinstance(counts, list):
        are_whole = all(type(count) is int for count in counts)
        return counts if are_whole and min(counts, default=-1) >= 0 else None
    if not isinstance(counts, str) or not counts or not counts.isascii():
        return None
    groups = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(groups & 0x20 == 0) + 1
    if (
        groups.min() < 0
        or groups.max() >= 64
        or not len(ends)
        or ends[-1] != len(groups)
    ):
        return None
    lengths = np.diff(ends, prepend=0)
    if lengths.max() > _MAX_GROUPS:
        return None
    starts = ends - lengths
    places = np.arange(len(groups)) - np.repeat(starts, lengths)
    values = np.add.reduceat((groups & 0x1F) << (5 * places), starts)
    values -= (groups[ends - 1] >> 4 & 1) << (5 * lengths)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values.tolist() if values.min() >= 0 else None


def _find_rle_problem(
    rle: dict[str, Any], image: dict[str, Any], where: str
) -> str | None:
    size = [image['height'], image['width']]
    given = rle.get('size')
    if None in size and _is_size(given):
        size = given
    if given != size:
        raise InputError(
            f'{where} is a mask of the size {rle.get("size")}, but its image '
            f'has {size} ([height, width]). Correct the size, or encode the '
            'mask anew'
        )
    counts = rle.get('counts')
    runs = _runs(counts)
    if runs is None:
        raise InputError(
            f'{where} has no usable counts: they must be a list of whole '
            'numbers from 0 on, or a text as pycocotools writes it, got '
            f'{counts!r:.60}'
        )
    if _pixels(runs) != size[0] * size[1]:
        raise InputError(
            f'{where}: the counts must add up to height * width = {size[0]} * '
            f'{size[1]} = {size[0] * size[1]}, but give {_pixels(runs)}'
        )
    return None if _pixels(runs[1::2]) else DEGENERATE
