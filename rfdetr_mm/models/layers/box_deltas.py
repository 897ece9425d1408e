"""Boxes as deltas of reference boxes, without any sigmoid."""

import torch
from torch import Tensor


def apply_box_deltas(reference_boxes: Tensor, deltas: Tensor) -> Tensor:
    """Move and scale reference boxes.

    Args:
        reference_boxes: Normalised (cx, cy, w, h), shape (..., 4); neither
            they nor the result are clamped to [0, 1].
        deltas: Shape (..., 4): a shift in units of the reference's size and
            the logarithm of a scale. Zeros leave the box as it is.

    Returns:
        Normalised (cx, cy, w, h), shape (..., 4).

    Source: rfdetr 1.11.2, LWDETR.forward with bbox_reparam.
    """
    centers, sizes = reference_boxes.split(2, dim=-1)
    shifts, log_scales = deltas.split(2, dim=-1)
    return torch.cat(
        [shifts * sizes + centers, log_scales.exp() * sizes], dim=-1
    )
