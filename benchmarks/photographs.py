"""A data set of photograph-like files, for timing what reads data.

JPEG files as large as COCO's, with polygons and people's 17 keypoints. What
is in them means nothing; their sizes, objects and points are those of photos.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

IMAGE_HW = (480, 640)
OBJECTS = (4, 12)  # in an image, 8 on average
CORNERS = (16, 48)  # of a polygon
GRAIN = 12.0  # grey levels; then a file has COCO's 160 KB
JPEG_QUALITY = 90
KEYPOINTS = (
    'nose left_eye right_eye left_ear right_ear left_shoulder '
    'right_shoulder left_elbow right_elbow left_wrist right_wrist '
    'left_hip right_hip left_knee right_knee left_ankle right_ankle'
).split()


def write_photographs(folder: Path, count: int = 160, seed: int = 0) -> Path:
    """Write the data set in the flat layout of COCO's format.

    Args:
        folder: It gets ``images``, ``train.json`` with all images and
            ``val.json`` with the first one; it is made.
        count: How many images.
        seed: All depends on it.

    Returns:
        The folder.
    """
    height, width = IMAGE_HW
    (folder / 'images').mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        name = f'{number:06d}.jpg'
        picture, other = (Image.fromarray(_texture(rng)) for _ in range(2))
        for _ in range(rng.integers(OBJECTS[0], OBJECTS[1] + 1)):
            found = _object(rng)
            mask = Image.new('L', picture.size)
            corners = list(zip(*[iter(found['segmentation'][0])] * 2))
            ImageDraw.Draw(mask).polygon(corners, fill=255)
            picture.paste(other, mask=mask)
            found.update(id=len(annotations) + 1, image_id=number + 1)
            annotations.append(found)
        picture.save(folder / 'images' / name, quality=JPEG_QUALITY)
        images.append(
            dict(id=number + 1, file_name=name, height=height, width=width)
        )
    person = dict(id=1, name='person', keypoints=KEYPOINTS, skeleton=[[1, 2]])
    for split, last in (('train', count), ('val', 1)):
        content = dict(
            images=images[:last],
            annotations=[a for a in annotations if a['image_id'] <= last],
            categories=[person],
        )
        (folder / f'{split}.json').write_text(json.dumps(content))
    return folder


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Smooth noise with some grain, uint8, (h, w, 3)."""
    height, width = IMAGE_HW
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = rng.normal(0, GRAIN, (height, width, 1))
    return (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)


def _object(rng: np.random.Generator) -> dict[str, Any]:
    """An annotation of COCO: a star-shaped polygon and points within."""
    height, width = IMAGE_HW
    radius = rng.uniform(20, 120, 2)  # px
    centre = rng.uniform(radius, (width, height) - radius)
    angles = np.linspace(0, 2 * np.pi, rng.integers(*CORNERS), endpoint=False)
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    outline = centre + rays * radius * rng.uniform(0.6, 1, (len(angles), 1))
    x1, y1, x2, y2 = *outline.min(axis=0), *outline.max(axis=0)
    points = centre + rng.uniform(-0.5, 0.5, (len(KEYPOINTS), 2)) * radius
    visible = rng.integers(0, 3, len(KEYPOINTS))
    keypoints = np.c_[points.round(1), visible] * (visible > 0)[:, None]
    return dict(
        category_id=1,
        bbox=np.round([x1, y1, x2 - x1, y2 - y1], 2).tolist(),
        area=round(float((x2 - x1) * (y2 - y1)), 2),
        iscrowd=0,
        segmentation=[outline.round(2).ravel().tolist()],
        keypoints=keypoints.ravel().tolist(),
        num_keypoints=int((visible > 0).sum()),
    )
