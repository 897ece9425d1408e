"""Small COCO data sets on disk, drawn from a seed."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ('disc', 'square')
COLOURS = ((220, 60, 40), (40, 90, 220))


def write_coco(
    root: Path,
    sizes_hw: list[tuple[int, int]],
    empty: tuple[int, ...] = (),
    objects_per_image: int = 3,
    seed: int = 0,
) -> Path:
    """Draw images with discs and squares on noise, and annotate them.

    Args:
        root: Folder that gets ``annotations.json`` and ``images/``.
        sizes_hw: (height, width) in pixels of each image, at least 24.
        empty: Numbers of the images without objects, counted from 0.
        objects_per_image: In all other images.
        seed: Seed of positions, sizes and noise.

    Returns:
        ``root``. Category ids are 7 and 3, in the order of ``CLASSES``, so
        that a confusion of ids and labels shows.
    """
    rng = np.random.default_rng(seed)
    (root / 'images').mkdir(parents=True)
    images, annotations = [], []
    for image_id, (height, width) in enumerate(sizes_hw, start=1):
        noise = rng.integers(90, 160, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        count = 0 if image_id - 1 in empty else objects_per_image
        for _ in range(count):
            label = int(rng.integers(len(CLASSES)))
            side = int(rng.integers(8, min(height, width) // 2))
            x = int(rng.integers(0, width - side))
            y = int(rng.integers(0, height - side))
            draw = ImageDraw.Draw(image)
            shape = (draw.ellipse, draw.rectangle)[label]
            shape((x, y, x + side - 1, y + side - 1), fill=COLOURS[label])
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=(7, 3)[label],
                    bbox=[x, y, side, side],
                    area=side * side,
                    iscrowd=0,
                )
            )
        name = f'{image_id}.png'
        image.save(root / 'images' / name)
        images.append(
            dict(id=image_id, file_name=name, height=height, width=width)
        )
    categories = [
        dict(id=7, name=CLASSES[0]),
        dict(id=3, name=CLASSES[1]),
    ]
    content = dict(
        images=images, annotations=annotations, categories=categories
    )
    (root / 'annotations.json').write_text(json.dumps(content))
    return root
