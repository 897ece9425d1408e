"""The one place where vernier, a compiled COCO evaluator, is called."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rfdetr_mm.errors import InputError

KEYPOINTS = 'keypoints'


def evaluate_grid(
    metric: str,
    truth: Mapping[str, Any],
    detections: Mapping[str, Any],
    categories: Sequence[int],
    max_detections: int,
    iou_thresholds: Sequence[float] | None = None,
    num_threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate boxes or masks by COCO's rules.

    Args:
        metric: 'bbox' or 'segm'.
        truth: Columns over all objects, image after image: ``boxes`` (x, y,
            w, h) in pixels, ``labels``, ``iscrowd``, ``area`` in pixels,
            ``counts`` of each image and, for masks, ``rles``.
        detections: Columns ``boxes``, ``scores``, ``labels``, ``counts`` and,
            for masks, ``rles``.
        categories: The labels that are evaluated, ascending.
        max_detections: Detections of a class that count in an image.
        iou_thresholds: COCO's ten by default.
        num_threads: Threads; vernier's own number by default.

    Returns:
        Precision, shape (IoUs, 101 recalls, classes, areas: all, small,
        medium, large), and recall, shape (IoUs, classes, areas); -1 where
        there is not an object.

    Raises:
        InputError: If vernier is not installed.

    Source: vernier 0.5.4, instance.evaluate_bbox_grid, evaluate_segm_grid.
    """
    vernier = import_vernier()
    inputs = vernier.adapters.coco_inputs_from_columns(
        detections, truth, box_format='xywh', categories=categories
    )
    evaluate = {
        'bbox': vernier.instance.evaluate_bbox_grid,
        'segm': vernier.instance.evaluate_segm_grid,
    }[metric]
    grid = evaluate(
        *inputs,
        parity_mode='corrected',
        max_dets_per_image=max_detections,
        use_cats=True,
        iou_thresholds=None if iou_thresholds is None else [*iou_thresholds],
        num_threads=num_threads,
        dt_area='bbox' if metric == 'bbox' else 'mask',
    )
    # Only recalls need smaller numbers of detections.
    accumulated = grid.accumulate([max_detections])
    precision = np.asarray(accumulated.precision)[..., -1]
    return precision, np.asarray(accumulated.recall)[..., -1]


def import_vernier() -> Any:
    """Import vernier.

    Raises:
        InputError: If it is not installed.
    """
    try:
        import vernier
        import vernier.adapters
        import vernier.instance
    except ImportError as error:
        raise InputError(
            'VernierCocoMetric and reports need the package vernier: pip '
            'install "vernier>=0.5.3". Without it, set the evaluator\'s type '
            'to NamedCocoMetric.'
        ) from error
    return vernier
