"""Small COCO data sets on disk, drawn from a seed."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw

CLASSES = ('disc', 'square')
COLOURS = ((220, 60, 40), (40, 90, 220))
# Layout and split: annotation file and folder of the images.
LAYOUT_FILES = {
    'roboflow': {
        'train': ('train/_annotations.coco.json', 'train'),
        'val': ('valid/_annotations.coco.json', 'valid'),
        'test': ('test/_annotations.coco.json', 'test'),
    },
    'coco': {
        'train': ('annotations/instances_train2017.json', 'train2017'),
        'val': ('annotations/instances_val2017.json', 'val2017'),
        'test': ('annotations/instances_test2017.json', 'test2017'),
    },
    'flat': {
        'train': ('train.json', 'images'),
        'val': ('val.json', 'images'),
        'test': ('test.json', 'images'),
    },
}
YOLO_FOLDERS = {'train': 'train', 'val': 'valid', 'test': 'test'}


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


def write_layout(
    root: Path,
    layout: str,
    splits: Sequence[str] = ('train', 'val', 'test'),
    sizes_hw: Sequence[tuple[int, int]] = ((60, 90), (90, 60), (50, 50)),
    objects_per_image: int = 3,
) -> Path:
    """Draw a data set with splits; the second image of each is empty.

    Args:
        root: Folder of the data set.
        layout: Key of ``LAYOUT_FILES``, or 'yolo' in Roboflow's folders.
        splits: Which of its splits to write.
        sizes_hw: (height, width) in pixels of the images of each split.
        objects_per_image: In all images but the second.

    Returns:
        ``root``.
    """
    # From 2 on, so that two classes show even with one object per image.
    for seed, split in enumerate(splits, start=2):
        if layout == 'yolo':
            folder = f'{YOLO_FOLDERS[split]}/images'
            ann_file = f'{split}.json'
        else:
            ann_file, folder = LAYOUT_FILES[layout][split]
        drawn = write_coco(
            root / 'drawn', list(sizes_hw), (1,), objects_per_image, seed
        )
        (root / folder).mkdir(exist_ok=True, parents=True)
        for image in (drawn / 'images').iterdir():
            image.rename(root / folder / f'{split} {image.name}')
        (root / ann_file).parent.mkdir(exist_ok=True)
        (drawn / 'annotations.json').rename(root / ann_file)
        shutil.rmtree(drawn)
        edit_json(root / ann_file, lambda c, s=split: _rename(c['images'], s))
        if layout == 'yolo':
            _write_yolo_labels(root / YOLO_FOLDERS[split], root / ann_file)
    if layout == 'yolo':
        folders = {s: f'../{YOLO_FOLDERS[s]}/images' for s in YOLO_FOLDERS}
        content = dict(folders, names=list(CLASSES[::-1]))
        (root / 'data.yaml').write_text(yaml.safe_dump(content))
    return root


def _write_yolo_labels(folder: Path, ann_file: Path) -> None:
    """Write text labels instead of the annotation file, which goes."""
    content = json.loads(ann_file.read_text())
    ann_file.unlink()
    (folder / 'labels').mkdir()
    for image in content['images']:
        lines = []
        for ann in content['annotations']:
            if ann['image_id'] != image['id']:
                continue
            x, y, w, h = ann['bbox']
            parts = (
                (x + w / 2) / image['width'],
                (y + h / 2) / image['height'],
                w / image['width'],
                h / image['height'],
            )
            label = {3: 0, 7: 1}[ann['category_id']]
            lines.append(' '.join(map(str, (label, *parts))))
        name = Path(image['file_name']).with_suffix('.txt')
        (folder / 'labels' / name).write_text('\n'.join(lines))


def edit_json(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the content of a JSON file in place."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def permute_categories(content: dict[str, Any]) -> None:
    """Give the categories other ids and reverse their order."""
    ids = {c['id']: 100 - c['id'] for c in content['categories']}
    content['categories'].reverse()
    for category in content['categories']:
        category['id'] = ids[category['id']]
    for annotation in content['annotations']:
        annotation['category_id'] = ids[annotation['category_id']]


def _rename(images: list[dict[str, Any]], split: str) -> None:
    for image in images:
        image['file_name'] = f'{split} {image["file_name"]}'
