"""What predict() takes for an image, as pixels."""

import io
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from rfdetr_mm_light.errors import InputError

from .image_file import read_rgb, rgb_pixels

ImageInput = str | PathLike | Image.Image | np.ndarray

_TIMEOUT_S = 30


def read_picture(image: ImageInput) -> np.ndarray:
    """Read an image of any kind.

    Args:
        image: Path, http(s) address, Pillow image, or RGB array (h, w, 3),
            uint8 or of floating point in [0, 1].

    Returns:
        RGB, shape (h, w, 3): uint8, or float32 from 0 to 255 for an array of
        floating point.

    Raises:
        FileNotFoundError: If there is no such file.
        ConnectionError: If an address cannot be fetched.
        InputError: If it cannot be decoded, has values outside [0, 1] or
            another shape.
        TypeError: If it is of another type.
    """
    if isinstance(image, (str, PathLike, Image.Image)):
        return as_rgb(image)
    if not isinstance(image, np.ndarray):
        raise TypeError(
            'An image is a path, an address, a Pillow image, an RGB array '
            f'(H, W, 3) or a list of them, got {type(image).__name__}'
        )
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            'An array has the shape (H, W, 3), RGB, with at least one pixel, '
            f'got {image.shape}'
        )
    if image.dtype == np.uint8:
        return image
    return _from_floats(image)


def _from_floats(image: np.ndarray) -> np.ndarray:
    low, high = float(image.min()), float(image.max())
    # A NaN is neither.
    if not (low >= 0 and high <= 1):
        raise InputError(
            f'An array of {image.dtype} has values in [0, 1], got values from '
            f'{low:g} to {high:g}. Divide them by their largest possible '
            'value, or give 8-bit pixels as uint8.'
        )
    return image.astype(np.float32) * np.float32(255)


def as_rgb(image: str | PathLike | Image.Image) -> np.ndarray:
    """Decode a file, or convert a picture, by the one reader.

    Args:
        image: Path, http(s) address or Pillow image.

    Returns:
        uint8, RGB, shape (h, w, 3); see :mod:`~rfdetr_runtime.image_file`.

    Raises:
        FileNotFoundError: If there is no such file.
        ConnectionError: If an address cannot be fetched.
        InputError: If it holds no picture that can be taken.
    """
    if isinstance(image, Image.Image):
        name = getattr(image, 'filename', '') or 'The Pillow image'
        return rgb_pixels(image, name)
    name = str(image)
    if name.startswith(('http://', 'https://')):
        return read_rgb(io.BytesIO(_fetch(name)), name)
    if not Path(name).exists():
        raise FileNotFoundError(f'There is no image file {name}.')
    return read_rgb(name, name)


def _fetch(address: str) -> bytes:
    # They take as long to import as the rest of this package.
    import http.client
    import urllib.request

    # Some servers refuse Python's own name.
    headers = {'User-Agent': 'rfdetr_mm'}
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(
            f'{address} could not be fetched: {error}'
        ) from error
