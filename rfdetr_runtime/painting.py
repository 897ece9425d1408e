"""Objects painted into a picture so that one can tell them apart."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

# Far apart for the eye: 1 to 6 at once are never alike, 20 differ.
COLOURS = (
    *('#ffd400', '#00b4ff', '#ff3b30', '#2ee65c', '#e040fb', '#ff8c1a'),
    *('#1fe0c6', '#ffffff', '#2f4bff', '#b4ff1a', '#ff8fc8', '#8a5a2b'),
    *('#8f7bff', '#0a7d3c', '#ffcf9e', '#b00060', '#5c8a8a', '#9c1c1c'),
    *('#1a237e', '#7d7d00'),
)
MASK_OPACITY = 0.45
MIN_FONT = 10  # px
HIDDEN = 0.25  # of a box, the most that labels may hide
_GOLDEN = 0.618034  # of the circle of hues, from one further class to the next

Colour = tuple[int, int, int]


def colour_of(label: int) -> Colour:
    """Choose the colour of a class, the same in every picture.

    Args:
        label: The class, from 0 on.

    Returns:
        Red, green and blue from 0 to 255.
    """
    if label < len(COLOURS):
        return ImageColor.getrgb(COLOURS[label])
    further = label - len(COLOURS)
    hue = round(360 * (_GOLDEN * further % 1))
    light = (60, 40, 75)[further % 3]
    return ImageColor.getrgb(f'hsl({hue}, 90%, {light}%)')


def paint_objects(
    image: np.ndarray,
    boxes_xyxy: np.ndarray,
    labels: Sequence[int],
    texts: Sequence[str],
    masks: np.ndarray | None = None,
    colours: Sequence[Colour] | None = None,
    line_width: int | None = None,
) -> np.ndarray:
    """Paint masks, boxes and their labels.

    A label stays inside the picture, and is beside its box rather than on
    it. Labels hide at most a quarter of any box; one that would hide more is
    left out, and the colour tells the class.

    Args:
        image: uint8 RGB, shape (h, w, 3).
        boxes_xyxy: Corners in pixels of the image, shape (n, 4).
        labels: Classes of the objects, shape (n,).
        texts: What is written at each box.
        masks: True in the object, shape (n, h, w).
        colours: The colour of each class; see :func:`colour_of` otherwise.
        line_width: Width of lines in pixels; by the size of the image if None.

    Returns:
        A new picture.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    own = [
        colours[label] if colours is not None else colour_of(label)
        for label in labels
    ]
    if masks is not None and len(masks):
        image = _tint(image, masks, own)
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    size = font_size(picture.size)
    width = max(1, round(size / 7)) if line_width is None else line_width
    for box, colour in zip(boxes.tolist(), own):
        x1, y1, x2, y2 = box
        corners = (x1, y1, max(x2, x1), max(y2, y1))
        # Lines of a small box leave its object to be seen.
        thin = int(min(x2 - x1, y2 - y1) / 6)
        draw.rectangle(corners, outline=colour, width=max(1, min(width, thin)))
    _write_labels(draw, picture.size, boxes, texts, own, size)
    return np.asarray(picture)


def font_size(size_wh: tuple[int, int]) -> int:
    """Choose the height of letters for a picture.

    Args:
        size_wh: Width and height in pixels.

    Returns:
        Pixels.
    """
    return max(MIN_FONT, round(max(size_wh) / 48))


def _tint(
    image: np.ndarray, masks: np.ndarray, colours: Sequence[Colour]
) -> np.ndarray:
    """Tint the insides, and draw their edges in the full colour."""
    pixels = image.astype(np.float32)
    edges = []
    for mask, colour in zip(np.asarray(masks, dtype=bool), colours):
        pixels[mask] *= 1 - MASK_OPACITY
        pixels[mask] += MASK_OPACITY * np.array(colour, np.float32)
        inner = mask.copy()
        inner[1:] &= mask[:-1]
        inner[:-1] &= mask[1:]
        inner[:, 1:] &= mask[:, :-1]
        inner[:, :-1] &= mask[:, 1:]
        edges.append(mask & ~inner)
    for edge, colour in zip(edges, colours):
        pixels[edge] = colour
    return pixels.round().astype(np.uint8)


def _write_labels(
    draw: ImageDraw.ImageDraw,
    size_wh: tuple[int, int],
    boxes: np.ndarray,
    texts: Sequence[str],
    colours: Sequence[Colour],
    size: int,
) -> None:
    font = ImageFont.load_default(size)
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(min=1).prod(axis=1)
    taken, covered = np.zeros((0, 4)), np.zeros(len(boxes))
    # Small objects first: they have fewer places.
    for row in np.argsort(areas, kind='stable').tolist():
        text = texts[row]
        if not text:
            continue
        left, top, right, bottom = draw.textbbox((0, 0), text, font)
        wh = np.array([right - left + 6, bottom - top + 4])
        places = _places(boxes[row], wh, size_wh)
        hidden = _overlaps(places, boxes) / areas + covered
        is_free = _overlaps(places, taken).sum(axis=1) == 0
        is_good = is_free & (hidden <= HIDDEN).all(axis=1)
        if not is_good.any():
            continue
        # The first ones are preferred to those that hide a little less.
        costs = hidden.sum(axis=1) + 0.01 * np.arange(len(places))
        best = np.where(is_good, costs, np.inf).argmin()
        covered = hidden[best]
        taken = np.vstack([taken, places[best]])
        x, y, *_ = places[best].tolist()
        draw.rectangle((x, y, x + wh[0] - 1, y + wh[1] - 1), colours[row])
        draw.text(
            (x + 3 - left, y + 2 - top), text, ink_on(colours[row]), font
        )


def ink_on(colour: Colour) -> str:
    """Choose black or white, whichever can be read on a colour.

    Args:
        colour: Red, green and blue from 0 to 255.

    Returns:
        ``'black'`` or ``'white'``.
    """
    red, green, blue = colour
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    return 'black' if light > 115 else 'white'


def _places(
    box: np.ndarray, wh: np.ndarray, size_wh: tuple[int, int]
) -> np.ndarray:
    """Where a label may be, the best first: (x1, y1, x2, y2), shape (n, 4)."""
    x1, y1, x2, y2 = box
    w, h = wh
    corners = np.array(
        [
            *((x1, y1 - h), (x1, y2 + 1), (x2 - w, y1 - h), (x2 - w, y2 + 1)),
            *((x2 + 1, y1), (x1 - w, y1), (x2 + 1, y2 - h), (x1 - w, y2 - h)),
            *((x1, y1), (x1, y2 - h)),  # on the box
        ]
    )
    limits = np.array(size_wh) - wh
    if (limits < 0).any():
        return np.zeros((0, 4))
    corners = np.rint(corners.clip(0, limits))
    return np.hstack([corners, corners + wh])


def _overlaps(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Areas that boxes share, shape (len(left), len(right)), in pixels."""
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    return (high - low).clip(min=0).prod(axis=2)


def with_heading(image: np.ndarray, text: str, detail: str = '') -> np.ndarray:
    """Put a line of text above a picture.

    Args:
        image: uint8 RGB, shape (h, w, 3).
        text: What is written on the left.
        detail: What is written on the right, such as the name of the file;
            its beginning is cut where it is too long.

    Returns:
        A new, higher picture.
    """
    height, width = image.shape[:2]
    size = font_size((width, height))
    font = ImageFont.load_default(size)
    band = round(1.6 * size)
    picture = Image.new('RGB', (width, height + band), 'white')
    picture.paste(Image.fromarray(image), (0, band))
    draw = ImageDraw.Draw(picture)
    margin = size // 2
    draw.text((margin, size // 4), text, 'black', font)
    used = draw.textlength(text, font) + 3 * margin
    while detail and used + draw.textlength(detail, font) > width:
        detail = '…' + detail[2:] if len(detail) > 2 else ''
    left = width - margin - draw.textlength(detail, font)
    draw.text((left, size // 4), detail, '#555555', font)
    return np.asarray(picture)


def with_note(image: np.ndarray, text: str) -> np.ndarray:
    """Write a note into the upper left corner of a picture.

    Args:
        image: uint8 RGB, shape (h, w, 3).
        text: The note.

    Returns:
        A new picture of the same size.
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(font_size(picture.size))
    left, top, right, bottom = draw.textbbox((4, 4), text, font)
    draw.rectangle((0, 0, right + 4, bottom + 4), 'black')
    draw.text((4, 4), text, 'white', font)
    return np.asarray(picture)
