"""Draw what the shipped weights were trained on: ``… DIR [--train N]``.

``python demo/pretraining_shapes.py data/pretraining_shapes`` writes it in
COCO's format, flat layout, as ``tiny_shapes.py`` does. The geometry is that
of the demo: 160 x 120 pixels, shapes of 16 to 64 pixels at any rotation, small
ones more often, half of them placed on an earlier one, at most half of a shape
hidden. Everything that a picture is made of is different, so that nothing of
the demo's data is known before it is trained on:

* 36 classes: 9 shapes, none of them a circle, square, triangle or cross, each
  in yellow, cyan, violet and pink. The demo's red, green and blue are left
  out, from the grounds too.
* Surfaces are plain, shaded or dotted, where the demo's have a soft grain.
* Grounds are checkerboards, Voronoi cells, gradients, dots, bricks and
  confetti, where the demo's are smooth noise with stripes across.
* 4 to 8 shapes an image instead of 3 to 6: more to learn from each.

``tests/demo/test_pretraining_shapes.py`` asserts it.
"""

import argparse
import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tiny_shapes import (
    DIAMETERS,
    IMAGE_HW,
    MAX_TRIES,
    MIN_VISIBLE,
    Painter,
    write_data_set,
)

SPLITS = {'train': 32000, 'val': 300}
HUES = {'yellow': 0.155, 'cyan': 0.48, 'violet': 0.755, 'pink': 0.875}
HUE_SPREAD = 0.04  # to each side
GROUND_HUES = ((0.06, 0.27), (0.4, 0.55), (0.67, 0.94))
SHAPES_PER_IMAGE = (4, 8)
OVERSAMPLING = 4  # pixels drawn for one, so that edges are smooth
JPEG = dict(quality=95, subsampling=0)

Ground = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]


def _polar(angles: np.ndarray, radii: np.ndarray | float) -> np.ndarray:
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _star() -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    return _polar(angles, np.where(np.arange(10) % 2, 0.42, 1.0))


def _hexagon() -> np.ndarray:
    return _polar(np.linspace(0, 2 * np.pi, 6, endpoint=False), 1.0)


def _crescent() -> np.ndarray:
    outer = _polar(np.linspace(0.3 * np.pi, 1.7 * np.pi, 32), 1.0)
    tip_x, tip_y = outer[0]
    centre_x = tip_x + 0.25
    inner_radius = np.hypot(tip_x - centre_x, tip_y)
    tip_angle = np.arctan2(tip_y, tip_x - centre_x)
    inner = _polar(
        np.linspace(2 * np.pi - tip_angle, tip_angle, 32), inner_radius
    )
    return np.concatenate([outer, inner + (centre_x, 0)])


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y - 2], axis=1) / 17


def _drop() -> np.ndarray:
    round_part = _polar(np.linspace(0.3 * np.pi, 1.7 * np.pi, 32), 0.6)
    return np.concatenate([round_part - (0.35, 0), [[1.0, 0.0]]])


def _semicircle() -> np.ndarray:
    return _polar(np.linspace(0, np.pi, 32), 1.0) - (0, 0.4)


_CORNERS = {
    'arrow': [
        *((-1, -0.25), (0.1, -0.25), (0.1, -0.7), (1, 0)),
        *((0.1, 0.7), (0.1, 0.25), (-1, 0.25)),
    ],
    'ell': [
        *((-0.6, -0.8), (-0.15, -0.8), (-0.15, 0.35)),
        *((0.7, 0.35), (0.7, 0.8), (-0.6, 0.8)),
    ],
    'tee': [
        *((-0.8, -0.75), (0.8, -0.75), (0.8, -0.3), (0.22, -0.3)),
        *((0.22, 0.9), (-0.22, 0.9), (-0.22, -0.3), (-0.8, -0.3)),
    ],
}

OUTLINES = {
    'star': _star(),
    'hexagon': _hexagon(),
    'crescent': _crescent(),
    'heart': _heart(),
    'drop': _drop(),
    'semicircle': _semicircle(),
    **{name: np.array(corners) for name, corners in _CORNERS.items()},
}
"""Corners of each shape about the unit circle's centre, (n, 2) as x, y."""

SHAPES = tuple(OUTLINES)
CLASSES = tuple(f'{hue} {shape}' for hue in HUES for shape in SHAPES)


@dataclass
class Scene:
    """An image in the making and the shapes in it, earliest first."""

    pixels: np.ndarray  # (H, W, 3) float32, 0 to 1
    owners: np.ndarray  # (H, W) which shape a pixel shows, -1 for none
    labels: list[int] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)  # whole shapes, px
    centres_xy: list[np.ndarray] = field(default_factory=list)

    def shown(self, owners: np.ndarray, areas: list[float]) -> np.ndarray:
        """Which part of each shape would be visible, 0 to 1."""
        counts = np.bincount(owners.ravel() + 1, minlength=len(areas) + 1)
        return counts[1:] / areas


def ground_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour of little saturation and of none of the demo's hues."""
    low, high = GROUND_HUES[rng.integers(len(GROUND_HUES))]
    return np.array(
        colorsys.hsv_to_rgb(
            rng.uniform(low, high), rng.uniform(0, 0.4), rng.uniform(0.1, 0.95)
        )
    )


def _checkerboard(rng, x, y):
    cell = rng.uniform(5, 28)
    odd = (np.floor(x / cell) + np.floor(y / cell)) % 2
    return odd[..., None] * ground_colour(rng)


def _bricks(rng, x, y):
    height, width = rng.uniform(6, 18), rng.uniform(12, 40)
    row = np.floor(y / height)
    along = x / width + 0.5 * (row % 2)
    joint = (along % 1 < 2 / width) | (y % height < 1.5)
    tones = rng.uniform(0.7, 1.0, (64, 64))
    tone = tones[row.astype(int) % 64, np.floor(along).astype(int) % 64]
    wall = tone[..., None] * ground_colour(rng)
    return np.where(joint[..., None], ground_colour(rng), wall)


def _gradient(rng, x, y):
    part = (x - x.min()) / np.ptp(x)
    return part[..., None] * ground_colour(rng)


def _dots(rng, x, y):
    cell = rng.uniform(7, 22)
    radius = rng.uniform(0.15, 0.42) * cell
    inside = np.hypot(x % cell - cell / 2, y % cell - cell / 2) < radius
    return np.where(inside[..., None], ground_colour(rng), ground_colour(rng))


def _voronoi(rng, x, y):
    height, width = IMAGE_HW
    count = rng.integers(8, 40)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    seeds = rng.uniform((0, 0), (height, width), (count, 2))
    nearest = np.zeros(IMAGE_HW, dtype=int)
    best = np.full(IMAGE_HW, np.inf, dtype=np.float32)
    for i, (row, column) in enumerate(seeds.astype(np.float32)):
        far = (rows - row) ** 2 + (columns - column) ** 2
        closer = far < best
        best[closer], nearest[closer] = far[closer], i
    one, other = ground_colour(rng), ground_colour(rng)
    mix = rng.random((count, 1))
    return (mix * one + (1 - mix) * other)[nearest]


def _confetti(rng, x, y):
    height, width = IMAGE_HW
    image = Image.new('RGB', (width, height))
    draw = ImageDraw.Draw(image)
    colours = [
        tuple((ground_colour(rng) * 255).astype(int).tolist())
        for _ in range(4)
    ]
    draw.rectangle((0, 0, width, height), fill=colours[0])
    for _ in range(rng.integers(30, 150)):
        centre = rng.uniform((0, 0), (width, height))
        step = rng.normal(0, 4, 2)
        ends = (*(centre - step), *(centre + step))
        colour = colours[rng.integers(1, 4)]
        draw.line(ends, fill=colour, width=int(rng.integers(1, 5)))
    return np.asarray(image) / 255


GROUNDS: dict[str, Ground] = {
    'checkerboard': _checkerboard,
    'bricks': _bricks,
    'gradient': _gradient,
    'dots': _dots,
    'voronoi': _voronoi,
    'confetti': _confetti,
}


def draw_ground(rng: np.random.Generator, kind: str) -> np.ndarray:
    """A patterned image without shapes, (H, W, 3) float32, 0 to 1."""
    height, width = IMAGE_HW
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = columns * cos + rows * sin, rows * cos - columns * sin
    x, y = x - x.min(), y - y.min()
    pattern = GROUNDS[kind](rng, x, y)
    strength = rng.uniform(0.25, 1.0)
    mixed = strength * pattern + (1 - strength) * ground_colour(rng)
    return mixed.astype(np.float32)


def draw_surface(rng: np.random.Generator, hue: str, size: int) -> np.ndarray:
    """A square of a class's colour, (size, size, 3) float32, 0 to 1."""
    colour = colorsys.hsv_to_rgb(
        HUES[hue] + rng.uniform(-HUE_SPREAD, HUE_SPREAD),
        rng.uniform(0.5, 1),
        rng.uniform(0.4, 1),
    )
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    kind = rng.integers(3)
    light = np.ones((size, size), dtype=np.float32)
    if kind == 1:  # shaded: dark on one side
        angle = rng.uniform(0, 2 * np.pi)
        along = rows * np.sin(angle) + columns * np.cos(angle)
        light = 1 - rng.uniform(0.1, 0.5) * (along - along.min()) / max(
            np.ptp(along), 1
        )
    elif kind == 2:  # dotted
        cell = rng.uniform(4, 9)
        inside = np.hypot(rows % cell - cell / 2, columns % cell - cell / 2)
        light = np.where(inside < 0.3 * cell, rng.uniform(0.6, 0.9), 1)
    return (light[..., None] * np.array(colour)).astype(np.float32)


def _cover(corners_xy: np.ndarray) -> tuple[np.ndarray, int, int, float]:
    """How much of each pixel of a square a polygon covers.

    Returns:
        The square, (size, size), 0 to 1; its left and top in the image; the
        polygon's whole area, px.
    """
    left, top = np.floor(corners_xy.min(axis=0)).astype(int)
    size = int(np.ceil((corners_xy.max(axis=0) - (left, top)).max())) + 1
    canvas = Image.new('L', (size * OVERSAMPLING, size * OVERSAMPLING))
    points = (corners_xy - (left, top)) * OVERSAMPLING
    ImageDraw.Draw(canvas).polygon(points.ravel().tolist(), fill=255)
    alpha = np.asarray(canvas.reduce(OVERSAMPLING), dtype=np.float32) / 255
    x, y = corners_xy.T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    return alpha, int(left), int(top), float(area)


def _inside(start: int, stop: int) -> slice:
    """The part of a range that does not lie before 0."""
    return slice(max(0, start), max(0, stop))


def place(rng: np.random.Generator, scene: Scene) -> None:
    """Add one shape, unless it would hide or be hidden too much."""
    height, width = IMAGE_HW
    label = int(rng.integers(len(CLASSES)))
    hue, shape = CLASSES[label].split()
    radius = np.exp(rng.uniform(*np.log(DIAMETERS))) / 2
    for _ in range(MAX_TRIES):
        centre = rng.uniform((0, 0), (width, height))
        if scene.centres_xy and rng.random() < 0.5:
            other = scene.centres_xy[rng.integers(len(scene.centres_xy))]
            centre = rng.normal(other, radius)
        angle = rng.uniform(0, 2 * np.pi)
        turn = np.array(
            [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        )
        alpha, left, top, whole = _cover(
            centre + radius * OUTLINES[shape] @ turn
        )
        part = _inside(-top, height - top), _inside(-left, width - left)
        place_in_image = (
            _inside(top, top + len(alpha)),
            _inside(left, left + len(alpha)),
        )
        seen = alpha[part]
        owners = scene.owners.copy()
        owners[place_in_image][seen > 0.5] = len(scene.labels)
        areas = [*scene.areas, whole]
        if scene.shown(owners, areas).min() >= MIN_VISIBLE:
            break
    else:
        return
    surface = draw_surface(rng, hue, len(alpha))[part]
    below = scene.pixels[place_in_image]
    below += seen[..., None] * (surface - below)
    scene.owners, scene.areas = owners, areas
    scene.labels.append(label)
    scene.centres_xy.append(centre)


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw one image."""
    kind = tuple(GROUNDS)[rng.integers(len(GROUNDS))]
    scene = Scene(draw_ground(rng, kind), np.full(IMAGE_HW, -1))
    low, high = SHAPES_PER_IMAGE
    for _ in range(rng.integers(low, high + 1)):
        place(rng, scene)
    return scene


def annotations_of(scene: Scene, image_id: int) -> list[dict[str, Any]]:
    """COCO annotations of the visible parts; ids are left to the caller."""
    annotations = []
    for i, label in enumerate(scene.labels):
        visible = scene.owners == i
        rows = visible.any(axis=1).nonzero()[0]
        columns = visible.any(axis=0).nonzero()[0]
        left, top = int(columns[0]), int(rows[0])
        width, height = int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top
        annotations.append(
            dict(
                image_id=image_id,
                category_id=label + 1,
                bbox=[left, top, width, height],
                area=int(visible.sum()),
                iscrowd=0,
            )
        )
    return annotations


def write_pretraining_shapes(
    folder: Path, splits: dict[str, int] = SPLITS
) -> None:
    """Write the data set; an existing one of the same name is replaced.

    Args:
        folder: The data set's folder; it is made.
        splits: Images of each split, the whole data set by default.
    """
    painter = Painter(
        draw_scene, annotations_of, CLASSES, '{}_{:05d}.jpg', JPEG
    )
    # Seeds far from those of the demo's splits, which are 0, 1 and 2.
    write_data_set(folder, splits, painter, first_seed=1000)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the data set and say where it is."""
    parser = argparse.ArgumentParser(description='Draw the pretraining data')
    parser.add_argument('folder', type=Path, help='where to write it')
    parser.add_argument(
        '--train',
        type=int,
        default=SPLITS['train'],
        help='images to train on (default: %(default)s)',
    )
    parser.add_argument(
        '--val',
        type=int,
        default=SPLITS['val'],
        help='images to validate on (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    splits = {'train': args.train, 'val': args.val}
    write_pretraining_shapes(args.folder, splits)
    print(f'{sum(splits.values())} images are in {args.folder}')


if __name__ == '__main__':
    main()
