"""Keypoints relative to the reference boxes of their queries."""

import torch
from torch import Tensor


def apply_keypoint_deltas(reference_boxes: Tensor, deltas: Tensor) -> Tensor:
    """Place keypoints around reference boxes.

    What is not finite becomes 0 first: an overflow in one keypoint would
    reach the boxes through the gradient of the product.

    Args:
        reference_boxes: Normalised (cx, cy, w, h), shape (..., 4).
        deltas: Shape (..., num_keypoints, 8): a shift from the centre in
            units of the box's size, and channels that stay as they are.

    Returns:
        Shape (..., num_keypoints, 8), x and y normalised and not clamped.

    Source: rfdetr 1.11.2, LWDETR.forward, Transformer.forward.
    """
    deltas = deltas.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    centers, sizes = reference_boxes.unsqueeze(-2).split(2, dim=-1)
    shifts, others = deltas.tensor_split([2], dim=-1)
    return torch.cat([shifts * sizes + centers, others], dim=-1)
