"""Detections as JSON, as a COCO file and as pictures."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rfdetr_mm_light.class_rows import COCO_CATEGORY_IDS, COCO_CLASSES
from rfdetr_mm_light.files import atomic_file
from rfdetr_mm_light.scores import score_label

from .coco_runs import encode_mask, mask_area
from .detections import Detections
from .keypoints import KEYPOINTS
from .painting import paint_objects
from .pictures import as_rgb
from .skeletons import paint_skeletons

if TYPE_CHECKING:
    import supervision

    AnyDetections = Detections | supervision.Detections


def as_detections(file: str, found: Any) -> 'AnyDetections':
    """Give supervision's KeyPoints the form of detections.

    Args:
        file: The image.
        found: What ``predict()`` has returned; detections stay as they are.

    Returns:
        Detections with ``metadata['source_image']``; keypoints, (x, y, score)
        with a score of 0 where the class has none, are in
        ``data['keypoints']``, shape (n, num_keypoints, 3).
    """
    if not hasattr(found, 'keypoint_confidence'):
        return found
    source = found.data.get('source_image')
    scores = found.keypoint_confidence[..., None]
    return Detections(
        xyxy=found.data['xyxy'],
        confidence=found.detection_confidence,
        class_id=found.class_id,
        data={
            'class_name': found.data['class_name'],
            KEYPOINTS: np.concatenate([found.xy, scores], axis=-1),
        },
        # Without any object there is no row with the image.
        metadata=dict(source_image=source[0] if source else as_rgb(file)),
    )


def to_record(file: str, found: 'AnyDetections') -> dict[str, Any]:
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
            detection['segmentation'] = encode_mask(found.mask[i])
        if KEYPOINTS in found.data:
            detection['keypoints_xy_px_score'] = [
                [round(float(x), 3), round(float(y), 3), round(float(s), 6)]
                for x, y, s in found.data[KEYPOINTS][i]
                if s > 0
            ]
        detections.append(detection)
    return dict(file=file, height=height, width=width, detections=detections)


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
    ids = category_ids(class_names)
    images, annotations = [], []
    for image_id, record in enumerate(records, start=1):
        images.append(coco_image(record, image_id))
        annotations += coco_annotations(
            record, image_id, len(annotations), ids
        )
    categories = [dict(id=i, name=n) for i, n in zip(ids, class_names)]
    return dict(images=images, categories=categories, annotations=annotations)


def category_ids(class_names: Sequence[str]) -> Sequence[int]:
    """COCO's own ids for COCO's classes, else numbers from 1.

    Args:
        class_names: The model's.
    """
    if tuple(class_names) == tuple(COCO_CLASSES):
        return COCO_CATEGORY_IDS
    return range(1, len(class_names) + 1)


def coco_image(record: dict[str, Any], image_id: int) -> dict[str, Any]:
    """The entry of an image in a COCO file.

    Args:
        record: What :func:`to_record` has returned.
        image_id: Its id.
    """
    return dict(
        id=image_id,
        file_name=record['file'],
        height=record['height'],
        width=record['width'],
    )


def coco_annotations(
    record: dict[str, Any], image_id: int, before: int, ids: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """The detections of an image as annotations of a COCO file.

    Args:
        record: What :func:`to_record` has returned.
        image_id: Its id.
        before: The number of annotations before; ids go on from it.
        ids: Category id of each class.

    Yields:
        An annotation for each detection.
    """
    for number, found in enumerate(record['detections'], start=before + 1):
        x1, y1, x2, y2 = found['bbox_xyxy_px']
        box = [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]
        annotation = dict(
            id=number,
            image_id=image_id,
            category_id=ids[found['class_id']],
            bbox=box,
            area=round(box[2] * box[3], 3),
            iscrowd=0,
            score=found['score'],
        )
        if 'segmentation' in found:
            annotation['segmentation'] = found['segmentation']
            annotation['area'] = mask_area(found['segmentation'])
        if 'keypoints_xy_px_score' in found:
            points = found['keypoints_xy_px_score']
            annotation['keypoints'] = [
                value
                for x, y, score in points
                for value in (x, y, 2 if score > 0.5 else 1)
            ]
            annotation['num_keypoints'] = len(points)
        yield annotation


def write_json(content: Any, path: Path) -> None:
    """Write a JSON file that appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(json.dumps(content, indent=1).encode())


def paint(found: 'AnyDetections') -> Image.Image:
    """Paint boxes, masks and names into the image they are of.

    Args:
        found: Detections with ``metadata['source_image']``, RGB (H, W, 3).

    Returns:
        A new picture.
    """
    texts = [
        score_label(name, score)
        for name, score in zip(found.data['class_name'], found.confidence)
    ]
    image = found.metadata['source_image']
    labels = found.class_id.tolist()
    painted = paint_objects(image, found.xyxy, labels, texts, found.mask)
    return _paint_keypoints(Image.fromarray(painted), found)


def _paint_keypoints(
    picture: Image.Image, found: 'AnyDetections'
) -> Image.Image:
    """Paint dots on those whose score is above 0.5."""
    if KEYPOINTS not in found.data:
        return picture
    points = found.data[KEYPOINTS]
    seen = np.where(points[..., 2:] > 0.5, 2, 0)
    points = np.concatenate([points[..., :2], seen], axis=-1)
    return Image.fromarray(
        paint_skeletons(np.asarray(picture), points, found.class_id)
    )
