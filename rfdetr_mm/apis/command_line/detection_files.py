"""Detections as JSON, as a COCO file and as pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from rfdetr_mm.checkpoints import (
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    atomic_file,
)

from ..images import load_image

if TYPE_CHECKING:
    from supervision import Detections, KeyPoints


KEYPOINTS = 'keypoints'  # in the data of detections


def as_detections(file: str, found: 'Detections | KeyPoints') -> 'Detections':
    """Give keypoints the form of detections; those stay as they are.

    Args:
        file: The image.
        found: Results with their source image.

    Returns:
        Detections with ``metadata['source_image']``; keypoints, (x, y, score)
        with a score of 0 where the class has none, are in
        ``data['keypoints']``.
    """
    import supervision

    if isinstance(found, supervision.Detections):
        return found
    source = found.data.get('source_image')
    # Without any object there is no row with the image.
    image = source[0] if source else load_image(file, 3, True).source
    keypoints = np.concatenate(
        [found.xy, found.keypoint_confidence[..., None]], axis=-1
    )
    return supervision.Detections(
        xyxy=found.data['xyxy'],
        confidence=found.detection_confidence,
        class_id=found.class_id,
        data={
            'class_name': found.data['class_name'],
            KEYPOINTS: keypoints,
        },
        metadata=dict(source_image=image),
    )


def to_record(file: str, found: 'Detections') -> dict[str, Any]:
    """Turn the detections of an image into plain data.

    Args:
        file: The image.
        found: Detections with ``metadata['source_image']``, RGB (H, W, 3).

    Returns:
        ``file``, ``height`` and ``width`` in pixels, and ``detections``, each
        with ``class_id`` (0-based), ``class_name``, ``score``,
        ``bbox_xyxy_px`` and, for segmentation, ``segmentation``, COCO's RLE;
        with keypoints ``keypoints_xy_px_score``, those of the class.
    """
    height, width = found.metadata['source_image'].shape[:2]
    detections = []
    for i in range(len(found)):
        detection = dict(
            class_id=int(found.class_id[i]),
            class_name=str(found.data['class_name'][i]),
            score=round(float(found.confidence[i]), 6),
            bbox_xyxy_px=[round(float(v), 3) for v in found.xyxy[i]],
        )
        if found.mask is not None:
            detection['segmentation'] = _rle(found.mask[i])
        if KEYPOINTS in found.data:
            detection['keypoints_xy_px_score'] = [
                [round(float(x), 3), round(float(y), 3), round(float(s), 6)]
                for x, y, s in found.data[KEYPOINTS][i]
                if s > 0
            ]
        detections.append(detection)
    return dict(file=file, height=height, width=width, detections=detections)


def _rle(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=list(mask.shape), counts=rle['counts'].decode())


def to_coco(
    records: Sequence[dict[str, Any]], class_names: Sequence[str]
) -> dict[str, Any]:
    """Turn records into a COCO data set with scores.

    Args:
        records: What :func:`to_record` has returned, image by image.
        class_names: The model's.

    Returns:
        ``images``, ``categories`` and ``annotations``; the latter are COCO
        results as well. Category ids are COCO's own for COCO's classes, else
        they count from 1. Keypoints whose score is above 0.5 have the
        visibility 2, others 1.
    """
    ids = range(1, len(class_names) + 1)
    if tuple(class_names) == tuple(COCO_CLASSES):
        ids = COCO_CATEGORY_IDS
    images, annotations = [], []
    for image_id, record in enumerate(records, start=1):
        images.append(
            dict(
                id=image_id,
                file_name=record['file'],
                height=record['height'],
                width=record['width'],
            )
        )
        for found in record['detections']:
            x1, y1, x2, y2 = found['bbox_xyxy_px']
            box = [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]
            annotation = dict(
                id=len(annotations) + 1,
                image_id=image_id,
                category_id=ids[found['class_id']],
                bbox=box,
                area=round(box[2] * box[3], 3),
                iscrowd=0,
                score=found['score'],
            )
            if 'segmentation' in found:
                annotation['segmentation'] = found['segmentation']
                area = coco_mask.area(found['segmentation'])
                annotation['area'] = int(area)
            if 'keypoints_xy_px_score' in found:
                points = found['keypoints_xy_px_score']
                annotation['keypoints'] = [
                    value
                    for x, y, score in points
                    for value in (x, y, 2 if score > 0.5 else 1)
                ]
                annotation['num_keypoints'] = len(points)
            annotations.append(annotation)
    categories = [dict(id=i, name=n) for i, n in zip(ids, class_names)]
    return dict(images=images, categories=categories, annotations=annotations)


def write_json(content: Any, path: Path) -> None:
    """Write a JSON file that appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(json.dumps(content, indent=1).encode())


def paint(found: 'Detections') -> Image.Image:
    """Paint boxes, masks and names into the image they are of.

    Args:
        found: Detections with ``metadata['source_image']``, RGB (H, W, 3).

    Returns:
        A new picture.
    """
    import supervision

    picture = Image.fromarray(found.metadata['source_image'])
    scale = supervision.calculate_optimal_text_scale(picture.size)
    thickness = supervision.calculate_optimal_line_thickness(picture.size)
    if found.mask is not None:
        picture = supervision.MaskAnnotator().annotate(picture, found)
    boxes = supervision.BoxAnnotator(thickness=thickness)
    labels = supervision.LabelAnnotator(
        text_scale=scale, text_padding=4, smart_position=True
    )
    texts = [
        f'{name} {score:.2f}'
        for name, score in zip(found.data['class_name'], found.confidence)
    ]
    picture = boxes.annotate(picture, found)
    picture = labels.annotate(picture, found, labels=texts)
    if KEYPOINTS in found.data and len(found):
        x, y, scores = np.moveaxis(found.data[KEYPOINTS], -1, 0)
        points = supervision.KeyPoints(
            xy=np.stack([x, y], axis=-1),
            class_id=found.class_id,
            visible=scores > 0.5,
        )
        dots = supervision.VertexAnnotator(radius=thickness + 1)
        picture = dots.annotate(picture, points)
    return picture
