"""Draw a clip of moving shapes: ``python demo/tiny_clip.py DIR``.

For trackers: three shapes of ``tiny_shapes.py``, each of another class, move
straight on over a ground that stays. In COCO's format with ``videos``:
``clip.json`` and ``images/``; boxes are those of the visible parts, and
``instance_id`` tells which shape it is.
"""

import argparse
import colorsys
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_shapes import (
    CLASSES,
    HUES,
    IMAGE_HW,
    Scene,
    annotations_of,
    cover,
    ground,
    outline,
)

NUM_FRAMES = 24
# Class, radius, first and last centre (x, y), in pixels. They do not meet.
SHAPES = (
    ('red circle', 14.0, (20.0, 25.0), (135.0, 30.0)),
    ('green square', 16.0, (140.0, 62.0), (25.0, 60.0)),
    ('blue triangle', 15.0, (30.0, 98.0), (120.0, 95.0)),
)


def draw_frame(pixels: np.ndarray, part: float) -> Scene:
    """Draw one frame.

    Args:
        pixels: The ground, (H, W, 3), 0 to 1.
        part: The part of the way that has been made, 0 to 1.

    Returns:
        The shapes in the order of ``SHAPES``.
    """
    scene = Scene(pixels.copy())
    for name, radius, first, last in SHAPES:
        hue, shape = name.split()
        centre = (1 - part) * np.array(first) + part * np.array(last)
        alpha, area = cover(centre + radius * outline(shape))
        colour = np.asarray(colorsys.hsv_to_rgb(HUES[hue], 0.9, 0.9))
        scene.pixels += alpha[..., None] * (colour - scene.pixels)
        scene.masks = [old & ~(alpha > 0.5) for old in scene.masks]
        scene.masks.append(alpha > 0.5)
        scene.labels.append(CLASSES.index(name))
        scene.areas.append(area)
        scene.centres_xy.append(tuple(centre))
    return scene


def write_clip(folder: Path, num_frames: int = NUM_FRAMES) -> None:
    """Write the clip; an existing one is replaced.

    Args:
        folder: The folder to write to; it is made.
        num_frames: Frames of the whole way.
    """
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    height, width = IMAGE_HW
    pixels = ground(np.random.default_rng(0))
    images, annotations = [], []
    for frame in range(num_frames):
        scene = draw_frame(pixels, frame / max(num_frames - 1, 1))
        name = f'{frame:04d}.png'
        drawn = (scene.pixels.clip(0, 1) * 255).round().astype(np.uint8)
        Image.fromarray(drawn).save(folder / 'images' / name)
        image = dict(id=frame + 1, file_name=name, height=height, width=width)
        images.append(dict(image, video_id=1, frame_id=frame))
        for number, annotation in enumerate(annotations_of(scene, frame + 1)):
            annotation.update(id=len(annotations) + 1, instance_id=number + 1)
            annotations.append(dict(annotation, video_id=1))
    categories = [
        dict(id=number, name=name) for number, name in enumerate(CLASSES, 1)
    ]
    content = dict(
        videos=[dict(id=1, name='clip', width=width, height=height)],
        images=images,
        annotations=annotations,
        categories=categories,
    )
    (folder / 'clip.json').write_text(json.dumps(content))


def main(argv: Sequence[str] | None = None) -> None:
    """Write the clip and say where it is."""
    parser = argparse.ArgumentParser(description='Draw a clip for trackers')
    parser.add_argument('folder', type=Path, help='where to write it')
    args = parser.parse_args(argv)
    write_clip(args.folder)
    print(f'{NUM_FRAMES} frames are in {args.folder}')


if __name__ == '__main__':
    main()
