"""Average precision: COCO's tables, and that of detections once matched."""

import contextlib
import io
from collections import defaultdict
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..vernier_grid import evaluate_grid
from .columns import KEYPOINTS, MASK, Scene

RECALLS = np.linspace(0, 1, 101)
IOUS = np.linspace(0.5, 0.95, 10)
AREAS = ('all', 'small', 'medium', 'large')


def coco_tables(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate by COCO's rules: boxes and masks by vernier.

    Keypoints are evaluated by pycocotools, the classes with the same sigmas
    together.

    Args:
        scene: Its detections are limited already.

    Returns:
        Precision, shape (10 IoUs, 101 recalls, classes, areas: all, small,
        medium, large), and recall, shape (10 IoUs, classes, areas); -1 where
        there is not an object. Keypoints have no small objects.
    """
    if scene.kind == KEYPOINTS:
        return _tables_of_keypoints(scene)
    sides = {}
    for name in ('objects', 'detections'):
        side = getattr(scene, name)
        columns = dict(
            boxes=side.boxes_xywh_px,
            labels=side.label.astype(np.int64),
            counts=np.bincount(side.image, minlength=len(scene.image_ids)),
        )
        if scene.kind == MASK:
            columns['rles'] = side.masks
        sides[name] = columns
    sides['objects'].update(
        iscrowd=scene.objects.is_crowd, area=scene.objects.area
    )
    sides['detections'].update(scores=scene.detections.score)
    return evaluate_grid(
        scene.kind,
        sides['objects'],
        sides['detections'],
        range(len(scene.classes)),
        scene.maximum,
    )


def mean_of_known(values: np.ndarray) -> float:
    """Mean of what is not -1; -1 if there is nothing.

    Args:
        values: Precisions or recalls of any shape.
    """
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def interpolated_precision(
    is_true: np.ndarray, num_objects: int
) -> np.ndarray:
    """COCO's 101 points of one class.

    Args:
        is_true: Whether each detection that counts has found its object, in
            the order of falling scores.
        num_objects: How many objects there are, at least 1.

    Returns:
        The greatest precision from each recall of ``RECALLS`` on, 0 where
        it is not reached.

    Source: the rule of pycocotools 2.0.11, COCOeval.accumulate.
    """
    hits = np.cumsum(is_true, dtype=np.float64)
    precision = hits / (np.arange(1, len(hits) + 1) + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / num_objects, RECALLS, side='left')
    return np.append(precision, 0)[places]


def by_class_and_score(label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Order by classes, then falling scores; equal ones stay as they are.

    Args:
        label: Classes of detections, in the order of images.
        score: Their scores.

    Returns:
        Their positions, shape (n,).
    """
    return np.lexsort((-score, label))


def precisions(
    label: np.ndarray, is_true: np.ndarray, num_objects: np.ndarray
) -> np.ndarray:
    """AP of each class from detections that are matched already.

    Args:
        label: Classes of the detections that count, in the order of
            :func:`by_class_and_score`.
        is_true: Whether each has found its object.
        num_objects: Objects of each class, shape (num_classes,).

    Returns:
        Shape (num_classes,), -1 for classes without objects.
    """
    bounds = np.searchsorted(label, np.arange(len(num_objects) + 1))
    found = np.full(len(num_objects), -1.0)
    for number in np.flatnonzero(num_objects > 0):
        part = is_true[bounds[number] : bounds[number + 1]]
        found[number] = interpolated_precision(
            part, num_objects[number]
        ).mean()
    return found


def _tables_of_keypoints(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    num = len(scene.classes)
    precision = np.full((len(IOUS), len(RECALLS), num, len(AREAS)), -1.0)
    recall = np.full((len(IOUS), num, len(AREAS)), -1.0)
    groups = defaultdict(list)
    for label, sigmas in scene.sigmas.items():
        groups[tuple(sigmas)].append(label)
    for sigmas, labels in groups.items():
        with contextlib.redirect_stdout(io.StringIO()):
            truth, found = _as_coco(scene, labels, len(sigmas))
            evaluation = COCOeval(truth, found, KEYPOINTS)
            evaluation.params.catIds = sorted(labels)
            evaluation.params.maxDets = [scene.maximum]
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
            evaluation.evaluate()
            evaluation.accumulate()
        # Keypoints have no small objects.
        for place, area in enumerate((0, 2, 3)):
            of_area = evaluation.eval['precision'][..., place, -1]
            precision[..., sorted(labels), area] = of_area
            of_area = evaluation.eval['recall'][..., place, -1]
            recall[..., sorted(labels), area] = of_area
    return precision, recall


def _as_coco(scene: Scene, labels: list[int], count: int) -> tuple[COCO, COCO]:
    base = dict(
        images=[dict(id=number) for number in range(len(scene.image_ids))],
        categories=[dict(id=label, name=str(label)) for label in labels],
    )
    made = []
    for side in (scene.objects, scene.detections):
        annotations: list[dict[str, Any]] = []
        for row in np.flatnonzero(np.isin(side.label, labels)):
            points = np.ones((count, 3))
            given = side.keypoints[row, :count]
            points[:, : given.shape[1]] = given
            x, y, w, h = side.boxes_xywh_px[row].tolist()
            one = dict(
                id=len(annotations) + 1,  # 0 would count as no match
                image_id=int(side.image[row]),
                category_id=int(side.label[row]),
                keypoints=points.flatten().tolist(),
                bbox=[x, y, w, h],
            )
            if side is scene.objects:
                one.update(
                    area=float(side.area[row]),
                    iscrowd=int(side.is_crowd[row]),
                    num_keypoints=int((points[:, 2] > 0).sum()),
                )
            else:
                # As COCO.loadRes: the box around the keypoints
                low, high = points[:, :2].min(axis=0), points[:, :2].max(0)
                one.update(
                    score=float(side.score[row]),
                    area=float(np.prod(high - low)),
                    iscrowd=0,
                )
            annotations.append(one)
        index = COCO()
        index.dataset = dict(base, annotations=annotations)
        index.createIndex()
        made.append(index)
    return made[0], made[1]
