"""COCO's evaluation of synthetic detections by both sides' evaluators."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

NUM_CLASSES = 80
NUM_OBJECTS = 7  # in every image, about COCO's
IMAGE_PX = 640
MAX_DETECTIONS = 100  # that count, of every image


def synthetic(num_images: int, num_detections: int) -> list[dict[str, Any]]:
    """Random objects, and detections of which some are near an object.

    Args:
        num_images: How many.
        num_detections: Detections in every image, at least ``NUM_OBJECTS``.

    Returns:
        For each image ``boxes`` and ``labels`` of the objects and ``found``,
        ``scores`` and ``found_labels`` of the detections; boxes (x1, y1, x2,
        y2) in pixels.
    """
    rng = np.random.default_rng(0)
    images = []
    for _ in range(num_images):
        corner = rng.uniform(0, IMAGE_PX * 0.7, (num_detections, 2))
        side = rng.uniform(8, IMAGE_PX * 0.3, (num_detections, 2))
        found = np.concatenate([corner, corner + side], axis=1)
        labels = rng.integers(NUM_CLASSES, size=num_detections)
        # The first detections are near an object, and score above 0.5.
        sides = np.concatenate([side, side], axis=1)[:NUM_OBJECTS]
        noise = rng.normal(0, 0.05, (NUM_OBJECTS, 4)) * sides
        boxes = (found[:NUM_OBJECTS] + noise).clip(0, IMAGE_PX)
        scores = rng.random(num_detections)
        scores[:NUM_OBJECTS] = (1 + scores[:NUM_OBJECTS]) / 2
        images.append(
            dict(
                boxes=boxes.astype(np.float32),
                labels=labels[:NUM_OBJECTS].copy(),
                found=found.astype(np.float32),
                scores=scores.astype(np.float32),
                found_labels=labels,
            )
        )
    return images


def our_evaluation(
    images: list[dict[str, Any]], folder: Path, metric_type: str
) -> Callable[[], float]:
    """A metric of this package, from detections to AP.

    Args:
        images: What :func:`synthetic` gave.
        folder: Folder for the annotation file.
        metric_type: 'NamedCocoMetric' or 'VernierCocoMetric'.

    Returns:
        The work; it gives AP.
    """
    from mmdet.registry import METRICS
    from mmdet.utils import register_all_modules

    import rfdetr_mm  # noqa: F401  registers

    register_all_modules(init_default_scope=True)
    names = [f'class {number}' for number in range(NUM_CLASSES)]
    truth = folder / 'truth.json'
    truth.write_text(json.dumps(_coco(images, names)))
    samples = [
        dict(
            img_id=number,
            ori_shape=(IMAGE_PX, IMAGE_PX),
            pred_instances=dict(
                bboxes=torch.from_numpy(image['found']),
                scores=torch.from_numpy(image['scores']),
                labels=torch.from_numpy(image['found_labels']),
            ),
        )
        for number, image in enumerate(images, 1)
    ]

    # Once per training, as upstream's objects come from its data set.
    metric = METRICS.build(
        dict(
            type=metric_type,
            ann_file=str(truth),
            metric='bbox',
            proposal_nums=(1, 10, MAX_DETECTIONS),
        )
    )
    metric.dataset_meta = dict(classes=names)

    def work() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            metric.process({}, samples)
            found = metric.evaluate(len(samples))
        return found['coco/bbox_mAP']

    return work


def upstream_evaluation(
    images: list[dict[str, Any]],
) -> Callable[[], float]:
    """Rfdetr's default evaluator, with as many detections per image."""
    from rfdetr.config import TrainConfig
    from rfdetr.training.coco_map import OnePassCocoMeanAveragePrecision

    backend = TrainConfig(dataset_dir='.').eval_backend
    found, truth = [], []
    for image in images:
        found.append(
            dict(
                boxes=torch.from_numpy(image['found']),
                scores=torch.from_numpy(image['scores']),
                labels=torch.from_numpy(image['found_labels']),
            )
        )
        truth.append(
            dict(
                boxes=torch.from_numpy(image['boxes']),
                labels=torch.from_numpy(image['labels']),
            )
        )

    def work() -> float:
        metric = OnePassCocoMeanAveragePrecision(
            max_detection_thresholds=[1, 10, MAX_DETECTIONS], backend=backend
        )
        metric.update(found, truth)
        return float(metric.compute()['map'])

    return work


def _coco(images: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    annotations = []
    for number, image in enumerate(images, 1):
        for box, label in zip(image['boxes'], image['labels']):
            x1, y1, x2, y2 = map(float, box)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=int(label) + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                )
            )
    return dict(
        images=[
            dict(id=n, file_name=f'{n}.jpg', height=IMAGE_PX, width=IMAGE_PX)
            for n in range(1, len(images) + 1)
        ],
        annotations=annotations,
        categories=[dict(id=i, name=n) for i, n in enumerate(names, 1)],
    )
