"""Draw the demo's data set: ``python demo/tiny_shapes.py DIR``.

Coloured shapes on textured ground, in COCO's format, flat layout:
``train.json``, ``val.json``, ``test.json`` and ``images/``.

How hard it is was fixed before any model was trained on it:

* 160 x 120 pixels (width x height), 600 / 100 / 100 images.
* 12 classes: circle, square, triangle and cross, each in red, green and
  blue. A single cue does not name the class: every shape comes in every
  colour, at any rotation, and hue, saturation and brightness vary.
* 3 to 6 shapes an image, 16 to 64 pixels across, small ones more often
  (uniform in the logarithm).
* Half of the shapes are placed on an earlier one. Up to half of a shape may
  be hidden by later ones or by the border; boxes and masks are those of the
  visible part.
* Shapes have a grain of their own; the ground is smooth noise in three
  octaves with stripes across it, of any hue with little saturation.

The numbers depend on the seed alone, one for each split.
"""

import argparse
import colorsys
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from tqdm import tqdm

IMAGE_HW = (120, 160)  # px
SPLITS = {'train': 600, 'val': 100, 'test': 100}
SHAPES = ('circle', 'square', 'triangle', 'cross')
HUES = {'red': 0.0, 'green': 1 / 3, 'blue': 0.61}
CLASSES = tuple(f'{hue} {shape}' for hue in HUES for shape in SHAPES)
SHAPES_PER_IMAGE = (3, 6)
DIAMETERS = (16, 64)  # px
MIN_VISIBLE = 0.5  # of a shape's whole area
OVERSAMPLING = 4  # pixels drawn for one, so that edges are smooth
MAX_TRIES = 30


@dataclass
class Scene:
    """An image in the making and the shapes in it, earliest first."""

    pixels: np.ndarray  # (H, W, 3) float32, 0 to 1
    labels: list[int] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)  # whole shapes, px
    masks: list[np.ndarray] = field(default_factory=list)  # visible, bool
    centres_xy: list[tuple[float, float]] = field(default_factory=list)


def outline(shape: str) -> np.ndarray:
    """Corners of a shape within the unit circle, (n, 2) as x, y."""
    if shape == 'circle':
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    elif shape == 'cross':
        arm = 0.35  # half of a bar's width over half of its length
        long = [-1, -1, -arm, -arm, arm, arm, 1, 1, arm, arm, -arm, -arm]
        wide = long[-3:] + long[:-3]
        return np.stack([long, wide], axis=1) / np.hypot(1, arm)
    else:
        count = {'square': 4, 'triangle': 3}[shape]
        angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def smooth_noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Noise that changes over 1/cells of the image's width; (H, W), +-1."""
    height, width = IMAGE_HW
    grid = rng.uniform(-1, 1, (max(2, cells * height // width), cells))
    image = Image.fromarray(grid.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def ground(rng: np.random.Generator) -> np.ndarray:
    """A textured image without shapes, (H, W, 3), 0 to 1."""
    height, width = IMAGE_HW
    colour = colorsys.hsv_to_rgb(
        rng.random(), rng.uniform(0, 0.35), rng.uniform(0.25, 0.8)
    )
    light = sum(0.12 * smooth_noise(rng, cells) for cells in (5, 12, 40))
    y, x = np.mgrid[:height, :width]
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 30)
    along = x * np.cos(angle) + y * np.sin(angle)
    light = light + 0.1 * rng.random() * np.sin(2 * np.pi * along / period)
    tint = 0.05 * np.stack([smooth_noise(rng, 8) for _ in range(3)], axis=2)
    return np.asarray(colour) + light[..., None] + tint


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
        corners = centre + radius * _turned(outline(shape), rng)
        alpha, whole = cover(corners)
        mask = alpha > 0.5
        left = [old & ~mask for old in scene.masks]
        shown = [
            part.sum() / area
            for part, area in zip([*left, mask], [*scene.areas, whole])
        ]
        if min(shown) >= MIN_VISIBLE:
            break
    else:
        return
    colour = colorsys.hsv_to_rgb(
        (HUES[hue] + rng.uniform(-0.05, 0.05)) % 1,
        rng.uniform(0.5, 1),
        rng.uniform(0.4, 1),
    )
    grain = 0.12 * rng.random() * smooth_noise(rng, 50)
    surface = np.asarray(colour) + grain[..., None]
    scene.pixels += alpha[..., None] * (surface - scene.pixels)
    scene.masks = [*left, mask]
    scene.labels.append(label)
    scene.areas.append(whole)
    scene.centres_xy.append(tuple(centre))


def _turned(corners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    return corners @ np.array([[cos, sin], [-sin, cos]])


def cover(corners_xy: np.ndarray) -> tuple[np.ndarray, float]:
    """How much of each pixel a polygon covers, and its whole area in px."""
    height, width = IMAGE_HW
    size = (width * OVERSAMPLING, height * OVERSAMPLING)
    canvas = Image.new('L', size)
    points = [tuple(point) for point in corners_xy * OVERSAMPLING]
    ImageDraw.Draw(canvas).polygon(points, fill=255)
    alpha = canvas.resize((width, height), Image.Resampling.BOX)
    x, y = corners_xy.T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    return np.asarray(alpha, dtype=np.float32) / 255, float(area)


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw one image."""
    scene = Scene(ground(rng))
    low, high = SHAPES_PER_IMAGE
    for _ in range(rng.integers(low, high + 1)):
        place(rng, scene)
    return scene


def annotations_of(scene: Scene, image_id: int) -> list[dict[str, Any]]:
    """COCO annotations of the visible parts; ids are left to the caller."""
    annotations = []
    for label, mask in zip(scene.labels, scene.masks):
        rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        annotations.append(
            dict(
                image_id=image_id,
                category_id=label + 1,
                bbox=coco_mask.toBbox(rle).tolist(),
                area=int(coco_mask.area(rle)),
                segmentation=dict(
                    size=list(IMAGE_HW), counts=rle['counts'].decode()
                ),
                iscrowd=0,
            )
        )
    return annotations


class Painter(NamedTuple):
    """What draws the images of a data set, and describes them."""

    draw: Callable[[np.random.Generator], Any]  # gives a scene with pixels
    annotate: Callable[[Any, int], list[dict[str, Any]]]
    classes: Sequence[str]
    file_name: str  # of an image, with the split's name and the image's id
    options: dict[str, Any]  # of Image.save
    # What the category of a class has beside its id and name
    category_fields: Mapping[str, dict[str, Any]] = MappingProxyType({})


def write_data_set(
    folder: Path, splits: dict[str, int], painter: Painter, first_seed: int
) -> None:
    """Write the data set; an existing one of the same name is replaced.

    Args:
        folder: The data set's folder; it is made.
        splits: How many images each split has; one of none is not written.
        painter: Draws the images.
        first_seed: The seed of the first split; each next split has the next.
    """
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    for seed, (name, num_images) in enumerate(splits.items(), first_seed):
        if not num_images:
            continue
        content = write_split(folder, name, num_images, seed, painter)
        (folder / f'{name}.json').write_text(json.dumps(content))


def write_split(
    folder: Path, name: str, num_images: int, seed: int, painter: Painter
) -> dict[str, Any]:
    """Write the images of a split.

    Args:
        folder: The data set's folder, with ``images/`` in it.
        name: The split's name.
        num_images: How many images to draw.
        seed: The seed of everything in them.
        painter: Draws the images.

    Returns:
        The annotations in COCO's format.
    """
    height, width = IMAGE_HW
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for image_id in tqdm(range(1, num_images + 1), desc=f'drawing {name}'):
        scene = painter.draw(rng)
        file_name = painter.file_name.format(name, image_id)
        pixels = (scene.pixels.clip(0, 1) * 255).round().astype(np.uint8)
        path = folder / 'images' / file_name
        Image.fromarray(pixels).save(path, **painter.options)
        images.append(
            dict(id=image_id, file_name=file_name, height=height, width=width)
        )
        annotations += painter.annotate(scene, image_id)
    for number, annotation in enumerate(annotations, start=1):
        annotation['id'] = number
    categories = [
        dict(id=number, name=name, **painter.category_fields.get(name, {}))
        for number, name in enumerate(painter.classes, 1)
    ]
    return dict(images=images, annotations=annotations, categories=categories)


def write_tiny_shapes(folder: Path, splits: dict[str, int] = SPLITS) -> None:
    """Write the data set; an existing one of the same name is replaced.

    Args:
        folder: The data set's folder; it is made.
        splits: Images of each split, the whole data set by default.
    """
    painter = Painter(draw_scene, annotations_of, CLASSES, '{}_{:04d}.png', {})
    write_data_set(folder, splits, painter, first_seed=0)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the data set and say where it is."""
    parser = argparse.ArgumentParser(description='Draw the demo data set')
    parser.add_argument('folder', type=Path, help='where to write it')
    args = parser.parse_args(argv)
    write_tiny_shapes(args.folder)
    print(f'{sum(SPLITS.values())} images are in {args.folder}')


if __name__ == '__main__':
    main()
