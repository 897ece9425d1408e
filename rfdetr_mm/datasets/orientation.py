"""Pictures that a viewer shows turned, and the data set reads as stored."""

import logging
from collections.abc import Iterable
from typing import Any

from mmcv.transforms import LoadImageFromFile

from .coco_file import log_in_main_process
from .transforms.load_image import IGNORES, TURNS

_LOADERS = ('LoadImageFromFile', 'LoadCheckedImage')


def ignores_orientation(pipeline: Iterable[Any]) -> bool:
    """Whether a pipeline loads pictures without turning them.

    Args:
        pipeline: Transforms or their configs.

    Returns:
        False also for a pipeline that loads no pictures.
    """
    return IGNORES in _color_types(pipeline)


def applies_orientation(pipeline: Iterable[Any]) -> bool:
    """Whether a pipeline turns pictures as their EXIF orientation says.

    Args:
        pipeline: Transforms or their configs.

    Returns:
        False also for a pipeline that loads no pictures.
    """
    return TURNS in _color_types(pipeline)


def _color_types(pipeline: Iterable[Any]) -> set[str]:
    return {
        transform.get('color_type', TURNS)
        if isinstance(transform, dict)
        else transform.color_type
        for transform in pipeline
        if _loads(transform)
    }


def _loads(transform: Any) -> bool:
    if not isinstance(transform, dict):
        return isinstance(transform, LoadImageFromFile)
    kind = transform.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return name.rpartition('.')[2] in _LOADERS


def apply_orientation(node: Any) -> int:
    """Let all loaders within a config turn pictures, in place.

    Args:
        node: The config, or a part of it.

    Returns:
        How many loaders there are.
    """
    if isinstance(node, (list, tuple)):
        return sum(map(apply_orientation, node))
    if not isinstance(node, dict):
        return 0
    if _loads(node):
        # Reduced JPEG files are decoded as they are stored.
        node.pop('draft_size', None)
        node['color_type'] = TURNS
        return 1
    return sum(map(apply_orientation, node.values()))


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
        'elsewhere. If yours were, --cfg-options apply_orientation=True '
        'turns pictures in training and evaluation; or save them turned, by '
        'PIL.ImageOps.exif_transpose.',
        logging.WARNING,
    )
