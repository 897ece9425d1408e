"""A contact sheet of the images of a data set that are worth a look."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from PIL import Image, ImageDraw

from rfdetr_runtime.image_file import ImageFileError, read_rgb

from .findings import Box, Suspect

MAX_TILES = 48
TILE = 224  # px, of the picture
CAPTION = 30  # px below it, two lines
GAP = 8  # px
COLUMNS = 6
CONTEXT = 4  # times the object is the side of what is shown around it
MIN_CONTEXT = 96  # px
_MARGIN = 1.1  # times, around objects and pictures
_COLOUR = '#ff2e63'
_OUTSIDE = '#b0b0b0'
_LINE_LENGTH = 36  # characters that fit below a tile


def draw_suspects(suspects: Sequence[Suspect]) -> Image.Image:
    """Draw them side by side, each with its objects and why it is here.

    Args:
        suspects: At least one. Of more than ``MAX_TILES`` some of every
            reason are taken.

    Returns:
        The sheet, RGB. An object is shown with what is around it, grey
        outside the image.
    """
    chosen = choose(suspects, MAX_TILES)
    columns = min(COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    step = (TILE + GAP, TILE + CAPTION + GAP)
    size = (columns * step[0] + GAP, rows * step[1] + GAP)
    sheet = Image.new('RGB', size, 'white')
    for number, suspect in enumerate(chosen):
        row, column = divmod(number, columns)
        corner = (GAP + column * step[0], GAP + row * step[1])
        sheet.paste(_tile(suspect), corner)
    return sheet


def choose(suspects: Sequence[Suspect], number: int) -> list[Suspect]:
    """Take some of each reason in turn.

    Args:
        suspects: All suspects.
        number: How many are wanted.

    Returns:
        At most as many, grouped by their reasons.
    """
    kinds = defaultdict(list)
    for suspect in suspects:
        kinds[suspect.reason.partition(',')[0]].append(suspect)
    in_turn = [s for row in zip_longest(*kinds.values()) for s in row if s]
    chosen = {id(suspect) for suspect in in_turn[:number]}
    return [s for kind in kinds.values() for s in kind if id(s) in chosen]


def _tile(suspect: Suspect) -> Image.Image:
    tile = Image.new('RGB', (TILE, TILE + CAPTION), 'white')
    draw = ImageDraw.Draw(tile)
    try:
        picture = Image.fromarray(read_rgb(suspect.path, suspect.path))
        tile.paste(_picture(picture, suspect.boxes), (0, 0))
    except (OSError, ImageFileError):
        draw.rectangle((0, 0, TILE - 1, TILE - 1), fill=_OUTSIDE)
        draw.text((8, TILE // 2), 'cannot be read', fill='black')
    name = Path(suspect.path).name
    for line, text in enumerate((suspect.reason, name)):
        text = text if len(text) <= _LINE_LENGTH else f'…{text[-35:]}'
        draw.text((0, TILE + 2 + line * 13), text, fill='black')
    return tile


def _picture(picture: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """A square around the boxes, or the whole picture."""
    left, top, side = _window(picture, boxes)
    scale = TILE / side
    canvas = Image.new('RGB', (TILE, TILE), _OUTSIDE)
    x1, y1 = max(left, 0), max(top, 0)
    x2 = min(left + side, picture.width)
    y2 = min(top + side, picture.height)
    if x1 < x2 and y1 < y2:
        size = (
            max(round((x2 - x1) * scale), 1),
            max(round((y2 - y1) * scale), 1),
        )
        part = picture.resize(size, box=(x1, y1, x2, y2))
        corner = (round((x1 - left) * scale), round((y1 - top) * scale))
        canvas.paste(part, corner)
    draw = ImageDraw.Draw(canvas)
    for box in boxes:
        corners = [
            min(max((value - start) * scale, -1), TILE)
            for value, start in zip(box, (left, top, left, top))
        ]
        x1, y1, x2, y2 = corners
        draw.rectangle(
            (
                min(x1, x2) - 2,
                min(y1, y2) - 2,
                max(x1, x2) + 2,
                max(y1, y2) + 2,
            ),
            outline=_COLOUR,
            width=2,
        )
    return canvas


def _window(
    picture: Image.Image, boxes: Sequence[Box]
) -> tuple[float, float, float]:
    """Left, top and side, in pixels, of the square that is shown."""
    longest = max(picture.size)
    whole = (
        (picture.width - longest) / 2,
        (picture.height - longest) / 2,
        longest,
    )
    xs = [value for box in boxes for value in box[::2]]
    ys = [value for box in boxes for value in box[1::2]]
    # Others would be a dot.
    is_near = boxes and (
        -longest < min(xs + ys) and max(xs + ys) < 2 * longest
    )
    if not is_near:
        return whole
    if not (
        min(xs) < picture.width
        and max(xs) > 0
        and min(ys) < picture.height
        and max(ys) > 0
    ):  # where it is can be seen beside the picture
        xs += [0, picture.width]
        ys += [0, picture.height]
    extent = max(max(xs) - min(xs), max(ys) - min(ys))
    side = min(max(extent * CONTEXT, MIN_CONTEXT), longest)
    side = max(side, extent * _MARGIN)
    x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    return x - side / 2, y - side / 2, side
