"""Draw the data set of the demo with keypoints.

``python demo/tiny_figures.py DIR`` writes COCO's format with keypoints, flat
layout: ``train.json``, ``val.json``, ``test.json`` and ``images/``.

How hard it is was fixed before any model was trained on it:

* 160 x 120 pixels (width x height), 800 / 100 / 200 images, grounds of
  ``tiny_shapes.py``.
* Two kinds of figures with different keypoints. A walker has a head, two
  hands and two feet, a kite a nose, a tail and two fins. Any hue; nothing but
  its place tells a left limb from a right one: left is on the right hand of
  someone who looks at the figure with its head, or nose, up.
* 1 to 3 figures an image, 44 to 84 pixels from end to end, turned by up to 60
  degrees; arms and legs of a walker and the fins of a kite are anywhere within
  60 degrees. Figures may overlap by up to a third.
* Patches of ground are laid on keypoints, and later figures hide parts of
  earlier ones: more than a fifth of the keypoints are hidden. They are
  annotated where they are, with COCO's visibility 1.
* ``area`` is that of the box, which is the whole figure's within the image.

The numbers depend on the seed alone, one for each split.
"""

import argparse
import colorsys
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from tiny_shapes import (
    IMAGE_HW,
    OVERSAMPLING,
    Painter,
    ground,
    smooth_noise,
    write_data_set,
)

SPLITS = {'train': 800, 'val': 100, 'test': 200}
KEYPOINTS = {
    'walker': ('head', 'left_hand', 'right_hand', 'left_foot', 'right_foot'),
    'kite': ('nose', 'left_fin', 'right_fin', 'tail'),
}
# Counted from 1, as COCO does
SKELETONS = {
    'walker': [[1, 2], [1, 3], [1, 4], [1, 5]],
    'kite': [[1, 2], [1, 3], [2, 4], [3, 4]],
}
FIGURES_PER_IMAGE = (1, 3)
LENGTHS = (44, 84)  # px
MAX_TURN = np.pi / 3
MAX_OVERLAP = 1 / 3  # of the smaller box
HIDDEN = 0.25  # of the keypoints get a patch of ground
MAX_TRIES = 30


@dataclass
class Figure:
    """A figure that stands upright around (0, 0), y downwards, size 2.

    Attributes:
        parts: Outlines of its parts, each (n, 2).
        points: Keypoints, (num_keypoints, 2).
    """

    parts: list[np.ndarray]
    points: np.ndarray


@dataclass
class Placed:
    """A figure in an image."""

    kind: str
    points: np.ndarray  # px
    box: np.ndarray  # (x1, y1, x2, y2) px, cut at the border
    mask: np.ndarray  # (H, W) bool


def bar(start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    """Outline of a line with round ends."""
    dx, dy = end - start
    angle = np.arctan2(dy, dx)
    turns = np.linspace(-np.pi / 2, np.pi / 2, 8)
    caps = [
        place + radius * np.stack([np.cos(a), np.sin(a)], axis=1)
        for place, a in ((end, turns + angle), (start, turns + angle + np.pi))
    ]
    return np.concatenate(caps)


def _at(angle: float, length: float) -> np.ndarray:
    """A place that far away; angle 0 is downwards, positive to the right."""
    return length * np.array([np.sin(angle), np.cos(angle)])


def walker(rng: np.random.Generator) -> Figure:
    """Head, trunk, arms and legs."""
    head, neck, hip = np.array([[0, -0.8], [0, -0.5], [0, 0.25]])
    # The figure looks at us: its left is on our right.
    sides = (1, -1)
    hands = [
        neck + [0, 0.1] + _at(s * rng.uniform(0.9, 0.9 + MAX_TURN), 0.7)
        for s in sides
    ]
    feet = [hip + _at(s * rng.uniform(0.1, 0.75), 0.75) for s in sides]
    parts = [bar(head, head + [0, 1e-3], 0.2), bar(neck, hip, 0.17)]
    parts += [bar(neck + [0, 0.1], hand, 0.1) for hand in hands]
    parts += [bar(hip, foot, 0.11) for foot in feet]
    return Figure(parts, np.stack([head, *hands, *feet]))


def kite(rng: np.random.Generator) -> Figure:
    """A drop with two fins and a thin tail."""
    nose, middle, tail = np.array([[0, -0.9], [0, -0.2], [0, 1.0]])
    fins = [
        middle + _at(s * (np.pi / 2 + rng.uniform(-0.5, 0.5)), 0.75)
        for s in (1, -1)
    ]
    body = bar(nose + [0, 0.15], middle + [0, 0.3], 0.24)
    parts = [body, bar(middle, tail, 0.07)]
    for fin in fins:
        parts.append(np.stack([middle - [0, 0.3], fin, middle + [0, 0.35]]))
    return Figure(parts, np.stack([nose, *fins, tail]))


DRAW = {'walker': walker, 'kite': kite}


def alpha_of(parts: Sequence[np.ndarray]) -> np.ndarray:
    """How much of each pixel the parts cover, (H, W)."""
    height, width = IMAGE_HW
    canvas = Image.new('L', (width * OVERSAMPLING, height * OVERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    for part in parts:
        draw.polygon([tuple(p) for p in part * OVERSAMPLING], fill=255)
    alpha = canvas.resize((width, height), Image.Resampling.BOX)
    return np.asarray(alpha, dtype=np.float32) / 255


def place(
    rng: np.random.Generator, pixels: np.ndarray, others: Sequence[Placed]
) -> Placed | None:
    """Draw a figure, in place; None if there is no room for it."""
    height, width = IMAGE_HW
    kind = tuple(KEYPOINTS)[rng.integers(len(KEYPOINTS))]
    figure = DRAW[kind](rng)
    size = rng.uniform(*LENGTHS) / 2
    turn = rng.uniform(-MAX_TURN, MAX_TURN)
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = size * np.array([[cos, sin], [-sin, cos]])
    for _ in range(MAX_TRIES):
        centre = rng.uniform((0, 0), (width, height))
        parts = [part @ matrix + centre for part in figure.parts]
        points = figure.points @ matrix + centre
        corners = np.concatenate(parts)
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        is_inside = (box[:2] > -3).all() and (
            box[2:] < (width + 3, height + 3)
        ).all()
        if is_inside and all(
            _overlap(box, o.box) < MAX_OVERLAP for o in others
        ):
            break
    else:
        return None
    alpha = alpha_of(parts)
    colour = colorsys.hsv_to_rgb(
        rng.random(), rng.uniform(0.5, 1), rng.uniform(0.5, 1)
    )
    grain = 0.12 * rng.random() * smooth_noise(rng, 50)
    surface = np.asarray(colour) + grain[..., None]
    pixels += alpha[..., None] * (surface - pixels)
    box = np.clip(box, 0, (width, height, width, height))
    return Placed(kind, points, box, alpha > 0.5)


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Common part of two boxes over the smaller one."""
    low = np.maximum(first[:2], second[:2])
    common = (np.minimum(first[2:], second[2:]) - low).clip(min=0).prod()
    areas = [(box[2:] - box[:2]).prod() for box in (first, second)]
    return common / max(min(areas), 1e-6)


def hide(
    rng: np.random.Generator,
    pixels: np.ndarray,
    bare: np.ndarray,
    placed: Sequence[Placed],
) -> np.ndarray:
    """Lay patches of ground on keypoints; return where, (H, W) bool."""
    patches = np.zeros(IMAGE_HW, dtype=bool)
    for figure in placed:
        for point in figure.points:
            if rng.random() > HIDDEN:
                continue
            shift = rng.normal(0, 1.5, 2)
            end = point + shift + _at(rng.uniform(0, 2 * np.pi), 4)
            alpha = alpha_of([bar(point + shift, end, rng.uniform(4, 7))])
            pixels += alpha[..., None] * (bare - pixels)
            patches |= alpha > 0.5
    return patches


def visibility(point: np.ndarray, covers: Sequence[np.ndarray]) -> int:
    """COCO's: 0 outside the image, 1 under one of the covers, 2 visible."""
    height, width = IMAGE_HW
    column, row = np.floor(point).astype(int)
    if not (0 <= row < height and 0 <= column < width):
        return 0
    return 1 if any(cover[row, column] for cover in covers) else 2


class Drawing(NamedTuple):
    """An image and what is in it."""

    pixels: np.ndarray  # (H, W, 3), 0 to 1 where it is not clipped
    annotations: list[dict[str, Any]]  # COCO's, without ids


def draw_image(rng: np.random.Generator) -> Drawing:
    """Draw an image and annotate it; all depends on ``rng``."""
    pixels, bare = ground(rng), ground(rng)
    placed: list[Placed] = []
    low, high = FIGURES_PER_IMAGE
    for _ in range(rng.integers(low, high + 1)):
        figure = place(rng, pixels, placed)
        if figure is not None:
            placed.append(figure)
    patches = hide(rng, pixels, bare, placed)
    annotations = []
    for i, figure in enumerate(placed):
        covers = [patches, *(later.mask for later in placed[i + 1 :])]
        keypoints = []
        for point in figure.points:
            v = visibility(point, covers)
            # The centre of the first pixel is 0.
            x, y = (point - 0.5).round(2).tolist()
            keypoints += [max(x, 0.0), max(y, 0.0), v] if v else [0, 0, 0]
        x1, y1, x2, y2 = figure.box.round(2).tolist()
        annotations.append(
            dict(
                category_id=1 + tuple(KEYPOINTS).index(figure.kind),
                bbox=[x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                area=round((x2 - x1) * (y2 - y1), 2),
                iscrowd=0,
                keypoints=keypoints,
                num_keypoints=sum(v > 0 for v in keypoints[2::3]),
            )
        )
    return Drawing(pixels, annotations)


def annotations_of(drawing: Drawing, image_id: int) -> list[dict[str, Any]]:
    """COCO annotations of a drawing; their ids are left to the caller."""
    return [
        dict(annotation, id=0, image_id=image_id)
        for annotation in drawing.annotations
    ]


def shuffle_sides(ann_file: Path, target: Path, seed: int = 0) -> None:
    """Copy an annotation file with left and right at random in each object.

    Args:
        ann_file: The file.
        target: The copy.
        seed: The seed of the exchanges.
    """
    content = json.loads(ann_file.read_text())
    rng = np.random.default_rng(seed)
    kinds = tuple(KEYPOINTS)
    for annotation in content['annotations']:
        names = KEYPOINTS[kinds[annotation['category_id'] - 1]]
        points = np.reshape(annotation['keypoints'], (-1, 3)).tolist()
        for left, name in enumerate(names):
            if name.startswith('left_') and rng.random() < 0.5:
                right = names.index(name.replace('left_', 'right_'))
                points[left], points[right] = points[right], points[left]
        annotation['keypoints'] = [v for point in points for v in point]
    target.write_text(json.dumps(content))


def write_tiny_figures(folder: Path, splits: dict[str, int] = SPLITS) -> None:
    """Write the data set; an existing one of the same name is replaced.

    Args:
        folder: The data set's folder; it is made.
        splits: Images of each split, the whole data set by default.
    """
    fields = {
        kind: dict(keypoints=list(names), skeleton=SKELETONS[kind])
        for kind, names in KEYPOINTS.items()
    }
    painter = Painter(
        draw_image,
        annotations_of,
        tuple(KEYPOINTS),
        '{}_{:04d}.png',
        {},
        fields,
    )
    write_data_set(folder, splits, painter, first_seed=0)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the data set and say where it is."""
    parser = argparse.ArgumentParser(description='Draw the figures data set')
    parser.add_argument('folder', type=Path, help='where to write it')
    args = parser.parse_args(argv)
    write_tiny_figures(args.folder)
    print(f'{sum(SPLITS.values())} images are in {args.folder}')


if __name__ == '__main__':
    main()
