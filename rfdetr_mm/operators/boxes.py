"""Suppression and overlap of boxes.

Boxes are (x1, y1, x2, y2) in pixels; ``offset`` 1 means that x2 and y2 are
the last pixels, so that a box is x2 - x1 + 1 wide.
"""

import numpy as np
import torch
import torchvision
from torch import Tensor


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int
) -> Tensor:
    """Greedy non-maximum suppression.

    Boxes of equal scores are taken in their order; compiled mmcv sorts them
    in an order that it does not promise.

    Args:
        boxes: (N, 4).
        scores: (N,).
        iou_threshold: A box goes when it overlaps a better one by more.
        offset: 0 or 1.

    Returns:
        Indices of the boxes that stay, best first.
    """
    boxes, scores = _at_least_float(boxes), _at_least_float(scores)
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    # Compiled mmcv compares with the float32 number next to the threshold,
    # torchvision with the double: an overlap of exactly 0.3 decides it.
    threshold = float(torch.tensor(iou_threshold, dtype=boxes.dtype))
    return torchvision.ops.nms(boxes, scores.to(boxes), threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Suppression that lowers scores instead of dropping boxes.

    Source: Soft-NMS, Bodla et al. 2017, arXiv:1704.04503.

    Args:
        boxes: (N, 4), on the CPU.
        scores: (N,).
        dets: (N, 5), receives boxes and lowered scores, best first.
        iou_threshold: For methods 0 and 1, the overlap from which a score is
            lowered.
        sigma: For method 2, the width of the Gaussian in squared overlap.
        min_score: A box below it is dropped.
        method: 0 drops, 1 lowers linearly, 2 by a Gaussian.
        offset: 0 or 1.

    Returns:
        Indices of the boxes that stay, K <= N, as the first K rows of
        ``dets``.
    """
    corners = _at_least_float(boxes.detach()).numpy()
    number = corners.dtype.type
    left = _at_least_float(scores.detach()).numpy().astype(number)
    sides = corners[:, 2:] - corners[:, :2] + number(offset)
    # One row a box: corners, area, score. It is permuted as a whole.
    rows = np.column_stack([corners, sides[:, 0] * sides[:, 1], left])
    indices = np.arange(len(rows))
    count, best = len(rows), 0
    while best < count:
        top = best + rows[best:count, 5].argmax()
        rows[[best, top]] = rows[[top, best]]
        indices[[best, top]] = indices[[top, best]]
        others = rows[best + 1 : count]
        overlaps = _overlaps_of_one(rows[best], others, number(offset))
        if method == 2:
            weights = np.exp(-(overlaps * overlaps) / number(sigma))
        else:
            kept = 1 - overlaps if method == 1 else number(0)
            # Boxes without an area overlap by 0 / 0, which lowers nothing.
            weights = np.where(overlaps >= number(iou_threshold), kept, 1)
        others[:, 5] *= weights
        stays = ~(others[:, 5] < number(min_score))
        order = _close_gaps(stays)
        rows[best + 1 : best + 1 + len(order)] = others[order]
        indices[best + 1 : best + 1 + len(order)] = indices[best + 1 : count][
            order
        ]
        best, count = best + 1, best + 1 + len(order)
    dets[:count] = torch.from_numpy(rows[:count, [0, 1, 2, 3, 5]]).to(dets)
    return torch.from_numpy(indices[:count].copy())


def _overlaps_of_one(
    row: np.ndarray, others: np.ndarray, offset: np.floating
) -> np.ndarray:
    """Intersection over union of one row (corners, area) with others."""
    low = np.maximum(row[:2], others[:, :2])
    high = np.minimum(row[2:4], others[:, 2:4])
    sides = np.maximum(high - low + offset, 0)
    inter = sides[:, 0] * sides[:, 1]
    with np.errstate(divide='ignore', invalid='ignore'):
        return inter / (row[4] + others[:, 4] - inter)


def _close_gaps(stays: np.ndarray) -> np.ndarray:
    """Where the rows come from when the last ones fill the gaps.

    The order decides which of two equal scores is taken next.
    """
    count = int(stays.sum())
    order = np.arange(count)
    gaps = np.flatnonzero(~stays[:count])
    order[gaps] = count + np.flatnonzero(stays[count:])[::-1]
    return order


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of boxes: a box that stays and those that it suppresses.

    Source: Prime sample attention, Cao et al. 2020, arXiv:1904.04821.

    Args:
        dets: (N, 5): boxes and scores.
        iou_threshold: A box goes when it overlaps a better one by as much.

    Returns:
        Indices, a list for each box that stays, itself first and the others
        by score.
    """
    dets = _at_least_float(dets)
    threshold = torch.tensor(iou_threshold, dtype=dets.dtype)
    left = dets[:, 4].sort(descending=True, stable=True)[1]
    groups = []
    while left.numel():
        first, rest = left[:1], left[1:]
        overlaps = _pairwise(dets[first, :4], dets[rest, :4], 0, 0)
        suppressed = overlaps >= threshold
        groups.append([*first.tolist(), *rest[suppressed].tolist()])
        left = rest[~suppressed]
    return groups


def bbox_overlaps(
    bboxes1: Tensor,
    bboxes2: Tensor,
    ious: Tensor,
    mode: int,
    aligned: bool,
    offset: int,
) -> None:
    """Overlap of boxes, pair by pair or of all with all.

    Args:
        bboxes1: (M, 4).
        bboxes2: (N, 4); M = N if ``aligned``.
        ious: Receives the result: (N,) if ``aligned``, else (M, N).
        mode: 0 divides the intersection by the union, 1 by the first area.
        aligned: Whether the boxes come in pairs.
        offset: 0 or 1.
    """
    if not aligned:
        bboxes1, bboxes2 = bboxes1[:, None], bboxes2[None]
    ious.copy_(_pairwise(bboxes1, bboxes2, mode, offset))


def _pairwise(first: Tensor, second: Tensor, mode: int, offset: int) -> Tensor:
    """Overlap of boxes (..., 4) that broadcast against each other."""
    low = torch.max(first[..., :2], second[..., :2])
    high = torch.min(first[..., 2:], second[..., 2:])
    sides = (high - low + offset).clamp(min=0)
    inter = sides[..., 0] * sides[..., 1]
    area = _areas(first, offset)
    if mode == 0:
        area = area + _areas(second, offset) - inter
    return inter / area


def _areas(boxes: Tensor, offset: int) -> Tensor:
    """Areas of boxes (..., 4)."""
    sides = boxes[..., 2:] - boxes[..., :2] + offset
    return sides[..., 0] * sides[..., 1]


def _at_least_float(values: Tensor) -> Tensor:
    """Half precision as float32; sums of areas do not fit into less."""
    if values.dtype in (torch.float16, torch.bfloat16):
        return values.float()
    return values
