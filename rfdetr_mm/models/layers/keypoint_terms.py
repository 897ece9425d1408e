"""How far predicted keypoints are from those of an object.

Losses and match costs share these terms: predictions and objects are
broadcast, so they may be pairs one by one or all of some with all of others.
A keypoint with a number that is not finite, or that overflows, counts for
nothing in a term, in its value and in its gradient.

Source: rfdetr 1.11.2, models/heads/keypoints.py, compute_l1_keypoint_loss
    and compute_keypoint_matching_cost. It leaves such keypoints out of the
    losses alone, and counts a quotient that overflows as the largest number.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .keypoint_schema import (
    FINDABLE,
    LOG_L11,
    LOG_L22,
    VISIBLE,
    X,
    Y,
)

SMALLEST_AREA = torch.finfo(torch.float32).eps  # of a box, over the image's


def l1_term(
    preds: Tensor, targets: Tensor, areas: Tensor, active: Tensor
) -> Tensor:
    """Mean of ``|dx| + |dy|`` of the labelled keypoints, in roots of the area.

    Args:
        preds: Shape (..., num_keypoints, 8), x and y normalised.
        targets: x and y normalised, and COCO's visibility: 0 not labelled, 1
            labelled and hidden, 2 visible. Shape (..., num_keypoints, 3).
        areas: Areas of the objects' boxes, normalised, shape (...).
        active: Whether the class has the keypoint, shape (...,
            num_keypoints).

    Returns:
        Shape (...), at least float32.
    """
    preds, targets, areas = map(_lift, (preds, targets, areas))
    shifts, mask = _shifts(preds, targets, areas, active)
    values = shifts.abs().sum(dim=-1) / _safe(areas).sqrt().unsqueeze(-1)
    return _mean(values, mask)


def findable_term(
    preds: Tensor, targets: Tensor, areas: Tensor, active: Tensor
) -> Tensor:
    """Mean cross-entropy of "labelled", see :func:`l1_term`."""
    return _cross_entropy(preds[..., FINDABLE], targets[..., 2] > 0, active)


def visible_term(
    preds: Tensor, targets: Tensor, areas: Tensor, active: Tensor
) -> Tensor:
    """Mean cross-entropy of "visible", see :func:`l1_term`."""
    return _cross_entropy(preds[..., VISIBLE], targets[..., 2] > 1, active)


def nll_term(
    preds: Tensor, targets: Tensor, areas: Tensor, active: Tensor
) -> Tensor:
    """Mean negative log-likelihood of the labelled keypoints.

    Of a normal distribution around the prediction, without its constant:
    ``|L.T @ (dx, dy)|^2 / (2 * area) - log l11 - log l22`` with the lower
    triangle L. It is not clamped and may be negative.

    Args:
        preds: See :func:`l1_term`.
        targets: See :func:`l1_term`.
        areas: See :func:`l1_term`.
        active: See :func:`l1_term`.

    Returns:
        Shape (...), at least float32.
    """
    preds, targets, areas = map(_lift, (preds, targets, areas))
    shifts, mask = _shifts(preds, targets, areas, active)
    triangle = preds[..., LOG_L11 : LOG_L22 + 1]
    with torch.no_grad():
        mask = mask & _nll(shifts, triangle, areas).isfinite()
    # Before exponentials, whose gradient would be infinite.
    shifts = shifts.where(mask.unsqueeze(-1), 0.0)
    triangle = triangle.where(mask.unsqueeze(-1), 0.0)
    return _mean(_nll(shifts, triangle, areas), mask)


def _nll(shifts: Tensor, triangle: Tensor, areas: Tensor) -> Tensor:
    dx, dy = shifts.unbind(-1)
    log_l11, l21, log_l22 = triangle.unbind(-1)
    u0 = log_l11.exp() * dx + l21 * dy
    u1 = log_l22.exp() * dy
    distance = (u0 * u0 + u1 * u1) / _safe(areas).unsqueeze(-1)
    return 0.5 * distance - (log_l11 + log_l22)


def _shifts(
    preds: Tensor, targets: Tensor, areas: Tensor, active: Tensor
) -> tuple[Tensor, Tensor]:
    """From targets to predictions, and where they count.

    Returns:
        Shape (..., num_keypoints, 2), 0 where they do not count; and shape
        (..., num_keypoints).
    """
    labelled = (targets[..., 2] > 0) & targets.isfinite().all(dim=-1)
    usable = (areas.isfinite() & (areas > SMALLEST_AREA)).unsqueeze(-1)
    places = preds[..., X : Y + 1]
    mask = active & labelled & usable & places.isfinite().all(dim=-1)
    shifts = places - targets[..., :2]
    return shifts.where(mask.unsqueeze(-1), 0.0), mask


def _cross_entropy(logits: Tensor, labels: Tensor, active: Tensor) -> Tensor:
    logits = _lift(logits)
    mask = active & logits.isfinite()
    logits = logits.where(mask, 0.0)
    # Broadcast, where PyTorch's own wants equal shapes.
    return _mean(F.softplus(logits) - logits * labels, mask)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the last dimension where ``mask`` is; 0 where it is nowhere."""
    mask = mask.expand_as(values)
    total = values.where(mask, 0.0).sum(dim=-1)
    return total / mask.sum(dim=-1).clamp(min=1)


def _safe(areas: Tensor) -> Tensor:
    return areas.where(areas.isfinite(), 1.0).clamp(min=SMALLEST_AREA)


def _lift(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
