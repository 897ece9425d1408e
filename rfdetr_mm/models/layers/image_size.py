"""The size that normalised boxes refer to."""

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
