"""Resizing as the model was trained, validated or used, without torch."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

PREDICT, VALIDATION = 'predict', 'validation'
KERNELS = (PREDICT, VALIDATION)
"""Names in the metadata of a file; see ``RFDETRResize`` of rfdetr_mm.

``'predict'`` interpolates between the four nearest pixels in floating point,
``'validation'`` is Pillow's bilinear filter on 8-bit pixels.
"""


def resize_picture(
    pixels: np.ndarray, size_hw: tuple[int, int], kernel: str
) -> np.ndarray:
    """Resize a picture to the size that a file takes.

    Args:
        pixels: uint8, or float32 from 0 to 255, shape (h, w, channels).
        size_hw: (height, width) of the result in pixels.
        kernel: One of ``KERNELS``. ``'validation'`` rounds to 8 bits.

    Returns:
        float32 from 0 to 255, shape (height, width, channels).
    """
    if kernel == PREDICT:
        return interpolate(pixels, size_hw)
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels).astype(np.uint8)
    height, width = size_hw
    planes = Image.fromarray(np.ascontiguousarray(pixels)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return np.asarray(planes, dtype=np.float32)


def interpolate(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Interpolate bilinearly between centres of pixels.

    Centres are at half-integers; beyond the outermost ones their values go
    on. Neither antialiased nor rounded, as ``torch.nn.functional.interpolate``
    with ``align_corners=False`` does it.

    Args:
        values: Shape (h, w) or (h, w, channels).
        size_hw: (height, width) of the result.

    Returns:
        float32, shape (height, width) or (height, width, channels).
    """
    for axis, size in enumerate(size_hw):
        values = _interpolate_axis(values, size, axis)
    return values


def _interpolate_axis(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Interpolate along one axis, in float32."""
    length = values.shape[axis]
    scale = np.float64(np.float32(length) / np.float32(size))
    # Rounded to float32 once, as a fused multiply-add does it.
    places = (scale * (np.arange(size) + 0.5) - 0.5).astype(np.float32)
    places = places.clip(0, length - 1)
    low = places.astype(np.intp)
    high = np.minimum(low + 1, length - 1)
    weights = (places - low).reshape([-1] + [1] * (values.ndim - axis - 1))
    # Only the rows that are needed become float32.
    first = values.take(low, axis).astype(np.float32)
    second = values.take(high, axis).astype(np.float32)
    second -= first
    second *= weights
    second += first
    return second


def resize_masks(logits: np.ndarray, size_hw: Sequence[int]) -> np.ndarray:
    """Resize masks to an image and decide their pixels.

    Args:
        logits: Shape (n, mask_h, mask_w).
        size_hw: (height, width) of the image in pixels.

    Returns:
        True in the object, shape (n, height, width).
    """
    masks = np.empty((len(logits), *size_hw), dtype=bool)
    # One at a time: beside the result little memory is needed.
    for mask, logit in zip(masks, logits, strict=True):
        np.greater(interpolate(logit, tuple(size_hw)), 0, out=mask)
    return masks
