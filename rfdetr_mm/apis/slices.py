"""Cut a large image into overlapping slices, and merge what they show."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from rfdetr_mm.errors import InputError

# A box that ends this close to a border inside the image is taken as cut.
_BORDER_PX = 4.0

Window = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the image."""


def slice_windows(
    image_hw: tuple[int, int], patch_hw: tuple[int, int], overlap: float
) -> list[Window]:
    """Spread windows evenly over an image.

    Args:
        image_hw: (height, width) of the image in pixels.
        patch_hw: (height, width) of a window; smaller images get one window.
        overlap: Share of a window that its neighbour sees too, at least;
            from 0 to below 1.

    Returns:
        Windows inside the image that cover it, row by row.

    Raises:
        InputError: If a size is not positive or the overlap not in [0, 1).
    """
    if min(*image_hw, *patch_hw) < 1:
        raise InputError(
            'the size of slices is a positive number of pixels, not '
            f'{patch_hw[0]} x {patch_hw[1]} (height x width)'
        )
    if not 0 <= overlap < 1:
        raise InputError(
            f'the overlap of slices is a share from 0 to below 1, not '
            f'{overlap}'
        )
    rows, columns = (
        _starts(size, patch, overlap)
        for size, patch in zip(image_hw, patch_hw)
    )
    height, width = (min(pair) for pair in zip(image_hw, patch_hw))
    return [
        (left, top, left + width, top + height)
        for top in rows
        for left in columns
    ]


def _starts(size: int, patch: int, overlap: float) -> list[int]:
    if size <= patch:
        return [0]
    steps = -int(-(size - patch) // max(patch * (1 - overlap), 1))
    return [round(i * (size - patch) / steps) for i in range(steps + 1)]


def merge_slices(
    found: Sequence[InstanceData],
    windows: Sequence[Window],
    image_hw: tuple[int, int],
    iou_threshold: float = 0.5,
) -> InstanceData:
    """Merge the detections of slices, each object once.

    Two slices saw the same pixels where they overlap, so two of their
    detections are of the same object if they have the same class and agree
    there: the parts of their boxes inside the overlap have an IoU above the
    threshold. This holds for objects of any size, also for those that no
    slice shows as a whole. Detections of one slice are never merged with each
    other: RF-DETR does without such suppression.

    Of one object's detections, the best that is not cut by the border of its
    slice is kept; if all are cut, their boxes and masks are united.

    Args:
        found: Detections of each slice: ``bboxes`` (n, 4) as xyxy in pixels of
            the slice, ``scores`` (n,), ``labels`` (n,) and, for segmentation,
            ``masks`` (n, h, w), bool.
        windows: Where the slices are.
        image_hw: (height, width) of the image in pixels.
        iou_threshold: The least agreement.

    Returns:
        The same fields in pixels of the image, highest scores first.

    Source: what it does is the job of sahi 0.11, sahi.postprocess.combine,
        and supervision 0.31, InferenceSlicer; the rule is our own.
    """
    owners = torch.cat(
        [torch.full((len(part),), i) for i, part in enumerate(found)]
    )
    bboxes = torch.cat([_shifted(*pair) for pair in zip(found, windows)])
    scores = torch.cat([part.scores for part in found])
    labels = torch.cat([part.labels for part in found])
    complete = torch.cat(
        [_not_cut(part.bboxes, w, image_hw) for part, w in zip(found, windows)]
    )
    groups = _Groups(owners.tolist())
    for i, j in _same_objects(bboxes, labels, owners, windows, iou_threshold):
        groups.join(i, j)

    merged: list[list[int]] = []
    for members in groups.members():
        whole = [i for i in members if complete[i]]
        best = max(whole, key=lambda i: float(scores[i]), default=None)
        merged.append(members if best is None else [best])
    merged.sort(key=lambda part: float(scores[part].max()), reverse=True)
    result = InstanceData(
        bboxes=bboxes.new_zeros(len(merged), 4),
        scores=scores.new_zeros(len(merged)),
        labels=labels.new_zeros(len(merged)),
    )
    for row, part in enumerate(merged):
        result.bboxes[row, :2] = bboxes[part, :2].amin(0)
        result.bboxes[row, 2:] = bboxes[part, 2:].amax(0)
        result.scores[row] = scores[part].max()
        result.labels[row] = labels[part[0]]
    if 'masks' in found[0]:
        result.masks = _united_masks(merged, found, windows, image_hw)
    return result


def _shifted(part: InstanceData, window: Window) -> Tensor:
    return part.bboxes + part.bboxes.new_tensor(window[:2] * 2)


def _not_cut(
    bboxes: Tensor, window: Window, image_hw: tuple[int, int]
) -> Tensor:
    """Whether boxes stay clear of the borders that have image behind them."""
    left, top, right, bottom = window
    limits = bboxes.new_tensor(
        [
            _BORDER_PX if left > 0 else -torch.inf,
            _BORDER_PX if top > 0 else -torch.inf,
            right - left - _BORDER_PX if right < image_hw[1] else torch.inf,
            bottom - top - _BORDER_PX if bottom < image_hw[0] else torch.inf,
        ]
    )
    return (bboxes[:, :2] >= limits[:2]).all(1) & (
        bboxes[:, 2:] <= limits[2:]
    ).all(1)


def _same_objects(
    bboxes: Tensor,
    labels: Tensor,
    owners: Tensor,
    windows: Sequence[Window],
    iou_threshold: float,
) -> list[tuple[int, int]]:
    """Pairs of detections that agree, best agreement first."""
    pairs: list[tuple[float, int, int]] = []
    rows = [(owners == i).nonzero()[:, 0] for i in range(len(windows))]
    for a, first in enumerate(windows):
        for b, second in enumerate(windows[:a]):
            low = [max(pair) for pair in zip(first[:2], second[:2])]
            high = [min(pair) for pair in zip(first[2:], second[2:])]
            if low[0] >= high[0] or low[1] >= high[1]:
                continue
            overlap = bboxes.new_tensor([low, high])
            parts = [_clipped(bboxes[rows[k]], overlap) for k in (a, b)]
            iou = _iou(*parts)
            iou[labels[rows[a]][:, None] != labels[rows[b]]] = 0
            pairs += [
                (float(iou[i, j]), int(rows[a][i]), int(rows[b][j]))
                for i, j in (iou > iou_threshold).nonzero().tolist()
            ]
    pairs.sort(reverse=True)
    return [(i, j) for _, i, j in pairs]


def _clipped(bboxes: Tensor, window: Tensor) -> Tensor:
    corners = bboxes.reshape(-1, 2, 2)
    return corners.clamp(window[0], window[1]).reshape(-1, 4)


def _iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of all pairs, 0 for boxes without area."""
    low = torch.maximum(first[:, None, :2], second[:, :2])
    high = torch.minimum(first[:, None, 2:], second[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (first, second)]
    union = areas[0][:, None] + areas[1] - shared
    return shared / union.clamp(min=torch.finfo(union.dtype).tiny)


@dataclass
class _Group:
    members: list[int]
    owners: set[int]


class _Groups:
    """Detections of one object, at most one from each slice."""

    def __init__(self, owners: Sequence[int]) -> None:
        self._of = [_Group([i], {owner}) for i, owner in enumerate(owners)]

    def join(self, i: int, j: int) -> None:
        """Unite two groups, unless one slice is in both."""
        first, second = self._of[i], self._of[j]
        if first.owners & second.owners:
            return
        first.members += second.members
        first.owners |= second.owners
        for member in second.members:
            self._of[member] = first

    def members(self) -> list[list[int]]:
        """The groups, as numbers of detections."""
        return [
            group.members for group in {id(g): g for g in self._of}.values()
        ]


def _united_masks(
    merged: list[list[int]],
    found: Sequence[InstanceData],
    windows: Sequence[Window],
    image_hw: tuple[int, int],
) -> Tensor:
    """Masks of groups of detections, (n, H, W) in pixels of the image."""
    places = [
        (part, row, window)
        for part, window in zip(found, windows)
        for row in range(len(part))
    ]
    masks = torch.zeros(len(merged), *image_hw, dtype=torch.bool)
    for mask, members in zip(masks, merged):
        for member in members:
            part, row, (left, top, right, bottom) = places[member]
            mask[top:bottom, left:right] |= part.masks[row].cpu()
    return masks
