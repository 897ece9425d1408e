"""How scores, sizes and numbers are spread over a data set."""

from typing import Any

import numpy as np

from .columns import Scene
from .confidence import MIN_SCORE

NUM_SCORE_BINS = 20
_SIDES = 2.0 ** np.arange(0, 13)  # px, from 1 to 4096
_COUNTS = (0, 1, 2, 3, 4, 5, 8, 12, 20, 35, 60, 100)


def spread_of(
    scene: Scene, is_true: np.ndarray, is_counted: np.ndarray, threshold: float
) -> dict[str, Any]:
    """Count scores, sides of boxes and objects in an image.

    Args:
        scene: Objects and detections.
        is_true: Whether each detection has found its object.
        is_counted: Whether it counts at all.
        threshold: Detections with a lower score are no found objects.

    Returns:
        ``scores``, ``sides_px`` and ``per_image``: ``edges`` of the bins, each
        including its lower one, the last one open, and counts of each bin.
        ``scores`` are those from ``min_score`` on.
    """
    found, objects = scene.detections, scene.objects
    edges = np.linspace(0, 1, NUM_SCORE_BINS + 1)
    scores = {}
    for name, chosen in (('right', is_true), ('wrong', ~is_true)):
        chosen = chosen & is_counted & (found.score >= MIN_SCORE)
        counts, _ = np.histogram(found.score[chosen], edges)
        scores[name] = counts.tolist()
    is_shown = is_counted & (found.score >= threshold)
    there = ~scene.is_ignored
    num_images = len(scene.image_ids)
    return dict(
        scores=dict(edges=edges.tolist(), min_score=MIN_SCORE, **scores),
        sides_px=dict(
            edges=_SIDES.tolist(),
            objects=_binned(_sides(objects.boxes_xywh_px[there]), _SIDES),
            detections=_binned(_sides(found.boxes_xywh_px[is_shown]), _SIDES),
        ),
        per_image=dict(
            edges=list(_COUNTS),
            objects=_binned(
                np.bincount(objects.image[there], minlength=num_images),
                _COUNTS,
            ),
            detections=_binned(
                np.bincount(found.image[is_shown], minlength=num_images),
                _COUNTS,
            ),
        ),
    )


def _sides(boxes_xywh_px: np.ndarray) -> np.ndarray:
    """Roots of the areas."""
    return np.sqrt(np.maximum(boxes_xywh_px[:, 2:], 0).prod(axis=1))


def _binned(values: np.ndarray, edges: Any) -> list[int]:
    """Count values from each edge on; smaller ones go to the first."""
    place = np.searchsorted(edges, values, 'right') - 1
    counts = np.bincount(np.maximum(place, 0), minlength=len(edges))
    return counts.tolist()
