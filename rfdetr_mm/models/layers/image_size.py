"""The size that normalised boxes refer to."""

from collections.abc import Sequence

import torch
from torch import Tensor


def image_size_px(like: Tensor, img_meta: dict) -> Tensor:
    """(w, h, w, h) of the unpadded network input in pixels.

    Args:
        like: Gives dtype and device.
        img_meta: With ``img_shape``, (h, w).

    Returns:
        Shape (4,).
    """
    height_px, width_px = img_meta['img_shape'][:2]
    return like.new_tensor([width_px, height_px, width_px, height_px])


def image_sizes_px(like: Tensor, img_metas: Sequence[dict]) -> Tensor:
    """:func:`image_size_px` of every image, shape (bs, 4).

    Args:
        like: Gives dtype and device.
        img_metas: With ``img_shape``, (h, w).

    Returns:
        Shape (bs, 4); the device is not waited for.
    """
    shapes = [img_meta['img_shape'][:2] for img_meta in img_metas]
    sizes = torch.tensor([(w, h, w, h) for h, w in shapes], dtype=like.dtype)
    return sizes.to(like.device, non_blocking=True)
