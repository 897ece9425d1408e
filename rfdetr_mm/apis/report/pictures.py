"""Small pictures around objects and detections, for the gallery of a page."""

import base64
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as mask_api

from rfdetr_mm.errors import InputError
from rfdetr_mm.evaluation.analysis import Scene
from rfdetr_runtime.pictures import as_rgb

SIDE = 220  # px of a picture
MARGIN = 0.6  # of the box's sides, around it
TRUTH, FOUND = (60, 220, 90), (255, 150, 30)
_QUALITY = 82


def picture_of(
    scene: Scene, fact: Mapping[str, Any], group: str, threshold: float
) -> str | None:
    """Cut an example out of its image, with objects and detections around.

    Objects are green, detections from the threshold on orange; the example
    itself has a thick box.

    Args:
        scene: Objects and detections.
        fact: The example, see :func:`find_examples`.
        group: Its group.
        threshold: Other detections with a lower score are not drawn.

    Returns:
        A JPEG as a data address, None if the image cannot be read.
    """
    try:
        image = Image.fromarray(as_rgb(scene.image_paths[fact['image']]))
    except (InputError, OSError, ValueError):
        return None
    x, y, w, h = fact['box_xywh_px']
    side = round(max(w, h, 12) * (1 + 2 * MARGIN))
    left, top = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
    scale = SIDE / side
    area = (left, top, left + side, top + side)
    crop = image.crop(area).resize((SIDE, SIDE), Image.BILINEAR)
    for name, colour in (('objects', TRUTH), ('detections', FOUND)):
        is_its = (name == 'objects') == (group == 'misses')
        for row in _rows_of(scene, name, fact['image'], threshold):
            is_example = is_its and row == fact['row']
            _draw(crop, scene, name, row, colour, area, scale, is_example)
        if is_its and group != 'misses':
            _draw(crop, scene, name, fact['row'], colour, area, scale, True)
    buffer = io.BytesIO()
    # Thin coloured lines need all of the colour.
    crop.save(buffer, 'JPEG', quality=_QUALITY, subsampling=0)
    text = base64.b64encode(buffer.getvalue()).decode()
    return f'data:image/jpeg;base64,{text}'


def _rows_of(
    scene: Scene, name: str, image: int, threshold: float
) -> Iterable[int]:
    side = getattr(scene, name)
    chosen = side.image == image
    if name == 'detections':
        chosen = chosen & (side.score >= threshold)
    return np.flatnonzero(chosen).tolist()


def _draw(
    crop: Image.Image,
    scene: Scene,
    name: str,
    row: int,
    colour: tuple[int, int, int],
    area: tuple[int, ...],
    scale: float,
    is_example: bool,
) -> None:
    """Draw a box, its mask and its keypoints into a cut."""
    side = getattr(scene, name)
    left, top = area[:2]
    if side.masks is not None:
        _tint(crop, side.masks[row], colour, area)
    draw = ImageDraw.Draw(crop)
    x, y, w, h = side.boxes_xywh_px[row]
    corners = np.array([x - left, y - top, x + w - left, y + h - top]) * scale
    low, high = -10, SIDE + 10
    corners = np.clip(corners, low, high).tolist()
    draw.rectangle(corners, outline=colour, width=4 if is_example else 1)
    if side.keypoints is None:
        return
    for point in side.keypoints[row]:
        if name == 'objects' and not point[2]:
            continue
        u, v = (point[0] - left) * scale, (point[1] - top) * scale
        draw.ellipse((u - 3, v - 3, u + 3, v + 3), fill=colour)


def _tint(
    crop: Image.Image,
    rle: Mapping[str, Any],
    colour: tuple[int, int, int],
    area: tuple[int, ...],
) -> None:
    mask = Image.fromarray(mask_api.decode(rle) * 90)
    part = mask.crop(area).resize(crop.size, Image.BILINEAR)
    crop.paste(Image.new('RGB', crop.size, colour), mask=part)
