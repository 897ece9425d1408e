"""Whether masks are needed, and the ``segmentation`` of COCO can be one."""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from rfdetr_mm.errors import InputError

MISSING = 'without mask'
DEGENERATE = 'with a mask without area'
_MIN_NUMBERS = 6  # three corners


def loads_masks(transform: Any) -> bool:
    """Whether a transform of a pipeline, or its config, loads masks."""
    if isinstance(transform, dict):
        return bool(transform.get('with_mask'))
    return bool(getattr(transform, 'with_mask', False))


def find_mask_problem(
    annotation: dict[str, Any], image: dict[str, Any], path: str
) -> str | None:
    """Say what is wrong with an annotation's mask, if it can be left out.

    Args:
        annotation: Its ``segmentation`` is a list of polygons (x1, y1, x2,
            y2, ... in pixels) or a run-length encoding, a dict with ``size``
            (h, w) and ``counts``, compressed or not.
        image: Its image, with ``height`` and ``width`` in pixels.
        path: Of the annotation file, for the error.

    Returns:
        None for a usable mask, ``MISSING`` or ``DEGENERATE``.

    Raises:
        InputError: If it is neither polygons nor a run-length encoding, or
            an encoding for an image of another size.
    """
    found = annotation.get('segmentation')
    where = f'{path}: segmentation of the annotation {annotation["id"]}'
    if isinstance(found, dict):
        return _find_rle_problem(found, image, where)
    if found in (None, []):
        return MISSING
    if not isinstance(found, list) or not all(
        isinstance(part, list) for part in found
    ):
        raise InputError(
            f'{where} must be a list of polygons or a run-length encoding '
            f'with size and counts, got {str(found)[:60]}'
        )
    if any(polygon_area(polygon) > 0 for polygon in found):
        return None
    return DEGENERATE


def polygon_area(polygon: list[float]) -> float:
    """Area in pixels; 0 if there are too few or no numbers.

    Args:
        polygon: x1, y1, x2, y2, ... in pixels.
    """
    if len(polygon) < _MIN_NUMBERS or len(polygon) % 2:
        return 0.0
    x, y = np.asarray(polygon, dtype=float).reshape(-1, 2).T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    return float(area) if np.isfinite(area) else 0.0


def _find_rle_problem(
    rle: dict[str, Any], image: dict[str, Any], where: str
) -> str | None:
    size = [image['height'], image['width']]
    if list(rle.get('size') or ()) != size:
        raise InputError(
            f'{where} is a mask of the size {rle.get("size")}, but its image '
            f'has {size} ([height, width]). Correct the size, or encode the '
            'mask anew'
        )
    counts = rle.get('counts')
    if isinstance(counts, list):
        if sum(counts) != size[0] * size[1] or min(counts) < 0:
            raise InputError(
                f'{where}: the counts must add up to height * width = '
                f'{size[0]} * {size[1]} = {size[0] * size[1]}, but give '
                f'{sum(counts)}'
            )
        return None if sum(counts[1::2]) else DEGENERATE
    if not isinstance(counts, str) or not counts:
        raise InputError(
            f'{where} has no counts: a list of numbers or a text is needed, '
            f'got {counts!r}'
        )
    encoded = dict(size=size, counts=counts.encode())
    return None if coco_mask.area(encoded) else DEGENERATE
