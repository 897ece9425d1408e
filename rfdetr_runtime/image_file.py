"""The one reader of image files: which files, which pixels, what is an error.

Training, evaluation, calibration and exported files all read through it.

Pixels are 8-bit RGB as they are stored. What a file may hold besides:

* Alpha is dropped, palettes and CMYK are converted by Pillow.
* Of 16 bits, also of the mode ``I`` with values up to 65535, the high byte is
  taken. So Pillow and OpenCV read colour pictures of 16 bits; grey ones
  Pillow would cut off at 255.
* Of several pages or frames the first is taken.
* The EXIF orientation is ignored, as rfdetr does, unless it is asked for.
  (Pillow itself turns TIFF files, and gives the size of the turned picture.)
* Floating-point pixels, and integers beyond 16 bits, are an error: no range
  of them is known to be black and white.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from rfdetr_mm_light.errors import InputError

IMAGE_SUFFIXES = (
    '.bmp',
    '.jpeg',
    '.jpg',
    '.mpo',
    '.pgm',
    '.png',
    '.ppm',
    '.tif',
    '.tiff',
    '.webp',
)

_ORIENTATION = 0x0112  # the tag of EXIF
_MAX_16_BITS = 65535
# EXIF's number to what makes the pixels, shape (h, w, 3), those of a viewer.
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
_SEEN_DARK: set[int] = set()  # bits that were warned of


class ImageFileError(InputError):
    """A file holds no picture that can be taken; the message names it."""


class BrokenImageError(ImageFileError):
    """A file is empty, cut off or no picture; training may skip it.

    Args:
        name: What the message calls the file.
        reason: Why it cannot be read.
    """

    def __init__(self, name: str, reason: object) -> None:
        super().__init__(f'{name} cannot be read: {reason}')
        self.reason = reason


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its name, which is not a hidden one.

    Args:
        name: Its name without its folder.
    """
    suffix = os.path.splitext(name)[1].lower()
    return suffix in IMAGE_SUFFIXES and not name.startswith('.')


def find_image_files(
    folder: str | PathLike, recursive: bool = False
) -> tuple[list[Path], list[Path]]:
    """List the image files of a folder.

    Args:
        folder: The folder.
        recursive: Whether to look into its folders, too.

    Returns:
        The files, sorted, and what has the name of an image but is left
        out: hidden files, such as the ``._1.jpg`` that macOS writes beside
        every copied file, and folders.
    """
    folder = Path(folder)
    named = sorted(
        path
        for path in (folder.rglob('*') if recursive else folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
    )
    files = [
        path for path in named if is_image_name(path.name) and path.is_file()
    ]
    return files, sorted({*named} - {*files})


def list_images(folder: str | PathLike) -> list[Path]:
    """List the image files of a folder, with a warning of what is left out.

    Args:
        folder: The folder; not searched below.

    Returns:
        The files, sorted.
    """
    files, left_out = find_image_files(folder)
    if left_out:
        warnings.warn(
            f'{folder}: {len(left_out)} names of images are left out, '
            f'because they are hidden files or folders, such as '
            f'{left_out[0].name}.',
            stacklevel=2,
        )
    return files


@contextmanager
def open_picture(
    file: str | PathLike | BinaryIO, name: str
) -> Iterator[Image.Image]:
    """Open a file without decoding its pixels, and close it afterwards.

    Args:
        file: Path or bytes of the file.
        name: What messages call it.

    Yields:
        The picture; ``size`` is known, the first page is selected.

    Raises:
        BrokenImageError: If it is not a picture.
        ImageFileError: If it is larger than Pillow allows.
    """
    if isinstance(file, (str, PathLike)) and not os.path.getsize(file):
        raise BrokenImageError(name, 'the file is empty')
    try:
        picture = Image.open(file)
    except Exception as error:
        raise _explained(error, name) from error
    with picture:
        yield picture


def rgb_pixels(picture: Image.Image, name: str) -> np.ndarray:
    """Decode a picture.

    Args:
        picture: A picture of any mode.
        name: What messages call it.

    Returns:
        uint8, RGB, shape (h, w, 3), in memory of its own.

    Raises:
        BrokenImageError: If the file is cut off or damaged.
        ImageFileError: If its pixels are no integers up to 16 bits.
    """
    try:
        picture.load()
        if not (picture.mode.startswith('I') or picture.mode == 'F'):
            return np.array(picture.convert('RGB'))
    except Exception as error:
        raise _explained(error, name) from error
    grey = _high_byte(picture, name)
    return np.stack([grey, grey, grey], axis=-1)


def read_rgb(file: str | PathLike | BinaryIO, name: str) -> np.ndarray:
    """Open and decode a file; see :func:`rgb_pixels`.

    Args:
        file: Path or bytes of the file.
        name: What messages call it.

    Returns:
        uint8, RGB, shape (h, w, 3).

    Raises:
        ImageFileError: If it holds no picture that can be taken.
    """
    with open_picture(file, name) as picture:
        return rgb_pixels(picture, name)


def read_size(path: str | PathLike) -> tuple[tuple[int, int], int]:
    """Read the size and the EXIF orientation, without decoding pixels.

    Args:
        path: The file.

    Returns:
        (height, width) in pixels as they are decoded, and the orientation,
        see :func:`exif_orientation`.

    Raises:
        ImageFileError: If it holds no picture that can be taken.
    """
    with open_picture(path, str(path)) as picture:
        return picture.size[::-1], exif_orientation(picture)


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels as a viewer does.

    Args:
        pixels: As they are stored, shape (h, w, channels).
        orientation: EXIF's number, see :func:`exif_orientation`.

    Returns:
        The pixels, of shape (w, h, channels) if it is 5 at least.
    """
    if orientation == 1:
        return pixels
    return np.ascontiguousarray(_TURNS[orientation](pixels))


def turned_size(size_hw: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(height, width) that a viewer gives a picture.

    Args:
        size_hw: As it is stored.
        orientation: EXIF's number, see :func:`exif_orientation`.
    """
    return size_hw[::-1] if orientation >= 5 else size_hw


def exif_orientation(picture: Image.Image) -> int:
    """Tell how a viewer would turn or mirror the decoded pixels.

    Args:
        picture: An open picture.

    Returns:
        EXIF's number: 1 as they are, 2 to 4 mirrored or turned by 180
        degrees, 5 to 8 with height and width swapped. 1 if there is none, or
        the EXIF block cannot be read, which viewers ignore then, too.
    """
    # Pillow has turned TIFF files. Without a block getexif() would look for
    # one behind the pixels of a PNG file, and decode it for that.
    if picture.format == 'TIFF' or not picture.info.get('exif'):
        return 1
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # of Pillow's parsers, of all kinds
        return 1
    return found if found in range(1, 9) else 1


def _explained(error: Exception, name: str) -> Exception:
    """What to raise for an error of Pillow's decoders, which are of all kinds.

    Args:
        error: The error that was caught.
        name: What messages call the file.

    Returns:
        An error that names the file; a lack of memory stays what it is.
    """
    if isinstance(error, MemoryError):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return ImageFileError(
            f'{name} is too large: {error} Cut it into several files, or, if '
            'you trust it and have the memory, raise PIL.Image.'
            'MAX_IMAGE_PIXELS before it is read.'
        )
    return BrokenImageError(name, error)


def _high_byte(picture: Image.Image, name: str) -> np.ndarray:
    """8-bit grey values of a picture of more than 8 bits."""
    values = np.asarray(picture)
    if picture.mode == 'F':
        raise ImageFileError(
            f'{name} has floating-point pixels (mode F), whose black and '
            'white are not known. Save it with 8 or 16 bits per pixel.'
        )
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > _MAX_16_BITS:
        raise ImageFileError(
            f'{name} has pixels from {low} to {high} (mode {picture.mode}), '
            'which do not fit into 16 bits, 0 to 65535. Save it with 8 or 16 '
            'bits per pixel.'
        )
    _warn_if_dark(high, name)
    return (values.astype(np.uint16) >> 8).astype(np.uint8)


def _warn_if_dark(high: int, name: str) -> None:
    """Warn once of each number of bits that a camera may have instead."""
    bits = high.bit_length()
    if bits > 12 or not high or bits in _SEEN_DARK:
        return
    _SEEN_DARK.add(bits)
    warnings.warn(
        f'{name} has 16 bits per pixel, but no value above {high}: read as '
        '0 (black) to 65535 (white) it is almost black. If your files hold '
        f'{max(bits, 8)}-bit values, multiply them to the full range first.',
        stacklevel=2,
    )
