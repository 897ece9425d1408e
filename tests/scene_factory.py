"""Generated data sets and detections for the numbers of reports."""

import contextlib
import io

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rfdetr_mm.evaluation.analysis import Detections, Objects, Scene

HEIGHT, WIDTH = 60, 90
SIGMAS = (0.05, 0.1, 0.07)


def make_scene(
    seed=0, kind='bbox', num_images=14, num_classes=3, num_found=12
):
    """Objects, some of them crowds; detections near and far, equal scores.

    The first image has no object, the second one no detection, and the last
    class neither.
    """
    rng = np.random.default_rng(seed)
    num_objects = rng.integers(1, 6, num_images)
    num_objects[0] = 0
    image = np.repeat(np.arange(num_images), num_objects)
    boxes = _boxes(rng, len(image))
    label = rng.integers(num_classes - 1, size=len(image))
    is_crowd = rng.random(len(image)) < 0.15
    rows, labels = [], []
    images = []
    for at in range(num_images):
        if at == 1:
            continue
        own = np.flatnonzero(image == at)
        for _ in range(num_found):
            images.append(at)
            if len(own) and rng.random() < 0.7:
                near = rng.choice(own)
                noise = rng.normal(0, rng.choice([0.5, 4.0]), 4)
                rows.append(np.maximum(boxes[near] + noise, 1))
                is_same = rng.random() < 0.75
                labels.append(
                    label[near] if is_same else rng.integers(num_classes - 1)
                )
            else:
                rows.append(_boxes(rng, 1)[0])
                labels.append(rng.integers(num_classes - 1))
    found = np.array(rows)
    score = rng.integers(1, 40, len(found)) / 40
    masks = points = (None, None)
    area = boxes[:, 2:].prod(axis=1)
    if kind == 'segm':
        masks = [_ellipses(b) for b in (boxes, found)]
        area = mask_api.area(masks[0]).astype(float)
    if kind == 'keypoints':
        points = [_points(rng, b, 3) for b in (boxes, found)]
        seen = rng.integers(0, 3, (len(boxes), 3, 1))
        seen[is_crowd] = 0
        points[0] = np.concatenate([points[0], seen], axis=-1)
    return Scene(
        kind,
        tuple(f'class {i}' for i in range(num_classes)),
        tuple(range(100, 100 + num_images)),
        tuple(f'{i}.jpg' for i in range(num_images)),
        Objects(image, label, boxes, area, is_crowd, masks[0], points[0]),
        Detections(
            np.array(images),
            np.array(labels),
            found,
            score,
            masks[1],
            points[1],
        ),
        sigmas={0: SIGMAS, 1: SIGMAS} if kind == 'keypoints' else {},
    )


def _boxes(rng, num):
    corner = rng.uniform(0, 0.6, (num, 2)) * (WIDTH, HEIGHT)
    return np.concatenate([corner, rng.uniform(6, 40, (num, 2))], axis=1)


def _ellipses(boxes):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    masks = []
    for left, top, w, h in boxes:
        inside = ((x - left - w / 2) / (w / 2)) ** 2
        inside = inside + ((y - top - h / 2) / (h / 2)) ** 2
        masks.append(mask_api.encode(np.asfortranarray(inside <= 1, np.uint8)))
    return masks


def _points(rng, boxes, num):
    place = np.linspace(0.2, 0.8, num)[None, :, None]
    noise = rng.normal(0, 0.03, (len(boxes), num, 2))
    return boxes[:, None, :2] + (place + noise) * boxes[:, None, 2:]


def pycocotools_evaluation(scene, **params):
    """COCOeval by itself, from dicts with ids from 1 on."""
    sides = []
    for side in (scene.objects, scene.detections):
        rows = []
        for row in range(len(side)):
            one = dict(
                id=row + 1,
                image_id=scene.image_ids[side.image[row]],
                category_id=int(side.label[row]) + 1,
                bbox=side.boxes_xywh_px[row].tolist(),
            )
            if side.masks is not None:
                one['segmentation'] = side.masks[row]
            if side is scene.objects:
                one['area'] = float(side.area[row])
                one['iscrowd'] = int(side.is_crowd[row])
            else:
                one['score'] = float(side.score[row])
                if side.masks is not None:
                    # With a box, loadRes takes its area, not the mask's.
                    del one['bbox']
            if side.keypoints is not None:
                points = side.keypoints[row]
                if side is scene.objects:
                    one['num_keypoints'] = int((points[:, 2] > 0).sum())
                else:
                    points = np.concatenate([points, np.ones((3, 1))], axis=1)
                    del one['bbox']
                one['keypoints'] = points.flatten().tolist()
            rows.append(one)
        sides.append(rows)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dict(
            images=[
                dict(id=i, height=HEIGHT, width=WIDTH) for i in scene.image_ids
            ],
            categories=[
                dict(id=i + 1, name=name)
                for i, name in enumerate(scene.classes)
            ],
            annotations=sides[0],
        )
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(sides[1]), scene.kind)
        if scene.kind == 'keypoints':
            evaluation.params.kpt_oks_sigmas = np.array(SIGMAS)
        for name, value in params.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation
