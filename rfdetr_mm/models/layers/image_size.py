"""The size that normalised boxes refer to."""

from collections.abc import Sequence

import torch
from torch import Tensor


def image_sizes_px(like: Tensor, img_metas: Sequence[dict]) -> Tensor:
    """(w, h, w, h) of the unpadded network inputs in pixels.

    Args:
        like: Gives dtype and device; the device is not waited for.
        img_metas: Meta data of each image with ``img_shape``, (h, w).

    Returns:
        A row for each of them, shape (n, 4).
    """
    shapes = [img_meta['img_shape'][:2] for img_meta in img_metas]
    sizes = torch.tensor([(w, h, w, h) for h, w in shapes], dtype=like.dtype)
    return sizes.view(-1, 4).to(like.device, non_blocking=True)
