"""Paint detections beside the truth, several images on one sheet."""

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask

from rfdetr_runtime.skeletons import paint_skeletons

ENLARGED = 4  # times
COLUMNS = 1  # pairs side by side
GAP = 12  # px
TEXT = 18  # px, height of the labels
HEADING = 28  # px, height of the headings
HEADINGS = ('truth', 'detections')
COLOURS = ('#ffd400', '#5ae8ff', '#ff5ad1', '#ffffff')
MASK_OPACITY = 0.4
MIN_KEYPOINT_SCORE = 0.5  # of a detected keypoint that is painted


@dataclass
class Objects:
    """What is painted onto one image.

    Attributes:
        boxes_xyxy: Corners in pixels of the image.
        labels: Their classes, which have the colours.
        names: What to write at each box.
        masks: Run-length encodings, one for each box, or none at all.
        keypoints: (x, y, visibility) of each box, shape (num_keypoints, 3),
            or none at all.
        links: For each class, the pairs of keypoints that a line connects.
    """

    boxes_xyxy: list[list[float]]
    labels: list[int]
    names: list[str]
    masks: list[dict[str, Any]]
    keypoints: list[np.ndarray] = field(default_factory=list)
    links: list[list[tuple[int, int]]] = field(default_factory=list)


def paint(image: Image.Image, objects: Objects) -> Image.Image:
    """Enlarge an image and paint masks, skeletons and named boxes.

    Args:
        image: The picture.
        objects: Its objects, with coordinates in its pixels.

    Returns:
        A painted picture, ``ENLARGED`` times as wide and high.
    """
    size = (image.width * ENLARGED, image.height * ENLARGED)
    canvas = image.convert('RGB').resize(size)
    colours = [COLOURS[label % len(COLOURS)] for label in objects.labels]
    for rle, colour in zip(objects.masks, colours):
        pixels = coco_mask.decode(rle) * np.uint8(255 * MASK_OPACITY)
        mask = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
        canvas.paste(colour, mask=mask)
    for points, label in zip(objects.keypoints, objects.labels):
        enlarged = points * (ENLARGED, ENLARGED, 1)
        canvas = Image.fromarray(
            paint_skeletons(
                np.asarray(canvas), enlarged[None], [label], objects.links
            )
        )
    draw = ImageDraw.Draw(canvas)
    for box, name, colour in zip(objects.boxes_xyxy, objects.names, colours):
        left, top, right, bottom = (value * ENLARGED for value in box)
        draw.rectangle((left, top, right, bottom), outline=colour, width=3)
        _write(draw, name, (left, top - TEXT), colour)
    return canvas


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    corner_xy: tuple[float, float],
    colour: str,
) -> None:
    """Write on a black bar, moved into the picture where it would leave it."""
    font = ImageFont.load_default(TEXT)
    limits = (
        draw.im.size[0] - draw.textlength(text, font=font) - 6,
        draw.im.size[1] - TEXT - 6,
    )
    x, y = (
        max(0, min(place, limit)) for place, limit in zip(corner_xy, limits)
    )
    left, top, right, bottom = draw.textbbox((x + 3, y), text, font=font)
    draw.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill='black')
    draw.text((x + 3, y), text, fill=colour, font=font)


def write_contact_sheet(
    ann_file: Path,
    predictions_file: Path,
    target: Path,
    num_images: int = 6,
    min_score: float = 0.3,
) -> None:
    """Write a sheet with pairs of pictures, truth left, detections right.

    Each column has its heading. If the detections have masks or keypoints,
    both sides show them. A class has the same colour on both.

    Args:
        ann_file: COCO annotations, with ``images/`` beside them and category
            ids in the order of the labels; masks as run-length encodings.
        predictions_file: What ``tools/test.py --out`` has written.
        target: Picture to write.
        num_images: The first ones of the file.
        min_score: Detections below it are left out.
    """
    content = json.loads(ann_file.read_text())
    names = {c['id']: c['name'] for c in content['categories']}
    ids = sorted(names)
    labels = [names[key] for key in ids]
    skeletons = {c['id']: c.get('skeleton', ()) for c in content['categories']}
    links = [[(a - 1, b - 1) for a, b in skeletons[key]] for key in ids]
    with open(predictions_file, 'rb') as file:
        found = {sample['img_id']: sample for sample in pickle.load(file)}
    pairs = []
    for info in content['images'][:num_images]:
        image = Image.open(ann_file.parent / 'images' / info['file_name'])
        pred = found[info['id']]['pred_instances']
        anns = [
            ann
            for ann in content['annotations']
            if ann['image_id'] == info['id']
        ]
        truth = Objects(
            [_corners(ann['bbox']) for ann in anns],
            [ids.index(ann['category_id']) for ann in anns],
            [names[ann['category_id']] for ann in anns],
            [ann['segmentation'] for ann in anns if 'masks' in pred],
            [
                np.reshape(ann['keypoints'], (-1, 3))
                for ann in anns
                if 'keypoints' in pred
            ],
            links,
        )
        detected = _detections(pred, labels, min_score)
        detected.links = links
        pairs.append((paint(image, truth), paint(image, detected)))
    _sheet(pairs).save(target)


def _corners(bbox_xywh: list[float]) -> list[float]:
    x, y, width, height = bbox_xywh
    return [x, y, x + width, y + height]


def _detections(
    pred: dict[str, Any], labels: list[str], min_score: float
) -> Objects:
    keep = (pred['scores'] >= min_score).nonzero().flatten().tolist()
    scores, classes = pred['scores'].tolist(), pred['labels'].tolist()
    boxes, masks = pred['bboxes'].tolist(), pred.get('masks')
    keypoints = []
    if 'keypoints' in pred:
        seen = np.asarray(pred['keypoint_scores']) > MIN_KEYPOINT_SCORE
        points = np.dstack([np.asarray(pred['keypoints']), 2 * seen])
        keypoints = [points[i] for i in keep]
    return Objects(
        [boxes[i] for i in keep],
        [classes[i] for i in keep],
        [f'{labels[classes[i]]} {scores[i]:.2f}' for i in keep],
        [masks[i] for i in keep] if masks else [],
        keypoints,
    )


def _sheet(pairs: list[tuple[Image.Image, Image.Image]]) -> Image.Image:
    """Place pairs below headings, ``COLUMNS`` of them side by side."""
    width, height = pairs[0][0].size
    columns = min(COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    pair_width = 2 * width + GAP
    top_of_pairs = HEADING + 2 * GAP
    sheet = Image.new(
        'RGB',
        (
            columns * (pair_width + GAP) + GAP,
            rows * (height + GAP) + top_of_pairs,
        ),
        'white',
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(HEADING)
    for i, pair in enumerate(pairs):
        top = top_of_pairs + (i // columns) * (height + GAP)
        for picture, heading, shift in zip(
            pair, HEADINGS, (0, width + GAP // 2)
        ):
            left = GAP + (i % columns) * (pair_width + GAP) + shift
            sheet.paste(picture, (left, top))
            if top == top_of_pairs:
                draw.text((left, GAP // 2), heading, 'black', font)
    return sheet
