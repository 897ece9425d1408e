"""What predict() takes for an image, as a tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from rfdetr_mm.errors import InputError
from rfdetr_runtime.pictures import as_rgb

ImageInput = str | PathLike | Image.Image | np.ndarray | Tensor


@dataclass
class LoadedImage:
    """An image and what its results refer to.

    Attributes:
        pixels: RGB in [0, 1], float32, shape (channels, h, w); uint8 pixels
            are not yet divided by 255.
        source: uint8, shape (h, w, channels); None if it is not wanted.
    """

    pixels: Tensor
    source: np.ndarray | None

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return tuple(self.pixels.shape[1:])


def load_image(
    image: ImageInput, num_channels: int, with_source: bool
) -> LoadedImage:
    """Read an image of any kind.

    Files and Pillow images become RGB as in training, see
    :mod:`~rfdetr_runtime.image_file`; the EXIF orientation is ignored, as
    upstream does. Arrays and tensors are taken as RGB.

    Args:
        image: Path, http(s) address, Pillow image, array (h, w, channels),
            uint8 or in [0, 1], or tensor (channels, h, w) in [0, 1].
        num_channels: The model's.
        with_source: Whether to keep the image for the results.

    Returns:
        The image.

    Raises:
        FileNotFoundError: If there is no such file.
        ConnectionError: If an address cannot be fetched.
        InputError: If it cannot be decoded, has values outside [0, 1] or
            another number of channels.
        TypeError: If it is of another type.
    """
    if isinstance(image, (str, PathLike, Image.Image)):
        image = as_rgb(image)
    if isinstance(image, np.ndarray):
        pixels = _from_array(image)
    elif isinstance(image, Tensor):
        pixels = image
        # 8-bit values of a tensor must be in [0, 1] as well.
        pixels = pixels.float() if pixels.dtype == torch.uint8 else pixels
    else:
        raise TypeError(
            'An image is a path, an address, a Pillow image, an RGB array '
            '(H, W, 3), a tensor (C, H, W) in [0, 1] or a list of them, got '
            f'{type(image).__name__}'
        )
    if pixels.dtype != torch.uint8:
        pixels = pixels.float()
        _check_range(pixels)
    _check_shape(pixels, num_channels)
    return LoadedImage(pixels, _source(pixels) if with_source else None)


def _from_array(array: np.ndarray) -> Tensor:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise InputError(
            f'An array has the shape (H, W, 3), got {array.shape}'
        )
    # A copy, which torch needs of turned and of read-only memory.
    return torch.from_numpy(array.copy()).permute(2, 0, 1).contiguous()


def _check_range(pixels: Tensor) -> None:
    if not pixels.numel():
        return
    low, high = torch.aminmax(pixels)
    if high > 1:
        problem = f'above 1 (up to {high.item():g})'
    elif low < 0:
        problem = f'below 0 (down to {low.item():g})'
    elif not torch.isfinite(low + high):
        problem = 'that are not finite'
    else:
        return
    raise InputError(
        f'Image has pixel values {problem}. Please ensure the image is '
        'normalized (scaled to [0, 1]); 8-bit RGB arrays and Pillow images '
        'are taken as they are.'
    )


def _check_shape(pixels: Tensor, num_channels: int) -> None:
    if pixels.ndim == 3 and len(pixels) == num_channels and pixels.numel():
        return
    raise InputError(
        'Invalid image shape: a tensor is (C, H, W) and an array (H, W, C), '
        f'with the C={num_channels} channels of the model and at least one '
        f'pixel, got {tuple(pixels.shape)} as (C, H, W). Paths and Pillow '
        'images are converted to RGB.'
    )


def _source(pixels: Tensor) -> np.ndarray:
    """The image as uint8, shape (h, w, channels), in memory of its own."""
    if pixels.dtype != torch.uint8:
        # Cut off, not rounded, as upstream does.
        pixels = (pixels * 255).to(torch.uint8)
    return np.stack(pixels.cpu().numpy(), axis=-1)


def make_batch(
    images: Sequence[LoadedImage],
    size_hw: tuple[int, int],
    mean: Tensor,
    std: Tensor,
) -> Tensor:
    """Resize images to one size and normalise them.

    Bilinear between the four nearest pixels, in floating point: neither
    antialiased nor rounded.

    Args:
        images: The images, which may have different sizes.
        size_hw: (height, width) in pixels of the network's input.
        mean: Mean of pixels in [0, 1], shape (channels, 1, 1); its device gets
            the images.
        std: Shape (channels, 1, 1).

    Returns:
        float32, shape (bs, channels, height, width).

    Source: rfdetr 1.11.2, detr.py, RFDETR.predict.
    """
    batch = [
        resize_image(image.pixels, size_hw, mean.device) for image in images
    ]
    return (torch.cat(batch) - mean) / std


def resize_image(
    pixels: Tensor, size_hw: tuple[int, int], device: torch.device
) -> Tensor:
    """Resize an image; one that has the size already stays as it is.

    Args:
        pixels: RGB, uint8, or float32 in [0, 1], shape (channels, h, w).
        size_hw: (height, width) in pixels.
        device: Where to do it.

    Returns:
        float32 in [0, 1], shape (1, channels, height, width).

    Source: rfdetr 1.11.2, detr.py, RFDETR.predict.
    """
    pixels = pixels.to(device)
    if pixels.dtype == torch.uint8:
        pixels = pixels.float() / 255
    if pixels.shape[1:] == size_hw:
        return pixels[None]
    return F.interpolate(
        pixels[None],
        size=size_hw,
        mode='bilinear',
        align_corners=False,
        antialias=False,
    )
