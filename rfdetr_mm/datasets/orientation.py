"""Pictures that a viewer shows turned, and the data set reads as stored."""

import logging
from collections.abc import Iterable
from typing import Any

from mmcv.transforms import LoadImageFromFile

from .coco_file import log_in_main_process


def ignores_orientation(pipeline: Iterable[Any]) -> bool:
    """Whether a pipeline loads pictures without turning them.

    Args:
        pipeline: Transforms or their configs.

    Returns:
        False also for a pipeline that loads no pictures.
    """
    return any(
        _option(transform, 'color_type') == 'color_ignore_orientation'
        for transform in pipeline
        if isinstance(transform, (dict, LoadImageFromFile))
    )


def _option(transform: Any, name: str) -> Any:
    if isinstance(transform, dict):
        return transform.get(name)
    return getattr(transform, name, None)


def may_be_turned(
    orientation: int, height: int | None, width: int | None
) -> bool:
    """Whether labels may have been drawn on a turned picture.

    Args:
        orientation: EXIF's number of the picture.
        height: The height that the labels' file gives, in pixels; None
            if it does not. Sizes with sides that differ tell which picture
            was meant where a viewer swaps the sides.
        width: The same for the width.
    """
    return 1 < orientation <= 4 or (orientation > 4 and height == width)


def warn_of_turned(
    source: str, turned: list[tuple[str, int]], num_images: int
) -> None:
    """Log one warning that counts pictures with an EXIF orientation.

    Args:
        source: What the pictures belong to, the beginning of the line.
        turned: Path and orientation of each such picture.
        num_images: Pictures that were looked at.
    """
    if not turned:
        return
    path, orientation = turned[0]
    log_in_main_process(
        f'{source}: {len(turned)} of {num_images} images have an EXIF '
        f'orientation other than 1, the first one is {path} '
        f'({orientation}). Their pixels are taken as they are stored, as '
        'rfdetr does, so boxes that were drawn on the turned picture lie '
        'elsewhere. If yours were, save the pictures turned, by '
        'PIL.ImageOps.exif_transpose.',
        logging.WARNING,
    )
