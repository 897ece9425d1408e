"""Scores as a choice and as a promise: F1 by threshold, and calibration."""

import dataclasses
from typing import Any

import numpy as np

THRESHOLDS = np.linspace(0, 1, 101)
NUM_BINS = 10
MIN_SCORE = 0.05  # of a detection that calibration looks at


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Precision, recall and F1 at each of ``THRESHOLDS``.

    Args:
        precision: Shape (num_classes, 101).
        recall: Shape (num_classes, 101).
        f1: Shape (num_classes, 101).
        has_objects: Whether the means are over a class, shape
            (num_classes,).
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    has_objects: np.ndarray

    def mean(self, name: str) -> np.ndarray:
        """Mean over the classes that have objects; 0 without any.

        Args:
            name: ``'precision'``, ``'recall'`` or ``'f1'``.

        Returns:
            Shape (101,).
        """
        known = getattr(self, name)[self.has_objects]
        return known.mean(axis=0) if len(known) else np.zeros(len(THRESHOLDS))

    def best(self) -> dict[str, float]:
        """Where the mean F1 is greatest: at the lowest such threshold."""
        at = int(self.mean('f1').argmax())
        names = ('precision', 'recall', 'f1')
        return dict(
            threshold=float(THRESHOLDS[at]),
            **{name: float(self.mean(name)[at]) for name in names},
        )

    def best_of_classes(self) -> list[dict[str, float]]:
        """The same for each class by itself."""
        return [
            dict(
                threshold=float(THRESHOLDS[at]),
                precision=float(self.precision[label, at]),
                recall=float(self.recall[label, at]),
                f1=float(self.f1[label, at]),
            )
            for label, at in enumerate(self.f1.argmax(axis=1))
        ]


def sweep_thresholds(
    label: np.ndarray,
    score: np.ndarray,
    is_true: np.ndarray,
    num_objects: np.ndarray,
) -> Sweep:
    """Compute precision, recall and F1 for thresholds from 0 to 1.

    Detections with at least the threshold's score count.

    Args:
        label: Classes of the detections that count.
        score: Their scores.
        is_true: Whether each has found its object.
        num_objects: Objects of each class, shape (num_classes,).

    Returns:
        The sweep.

    Source: the rule of rfdetr 1.11.2, evaluation/f1_sweep.py: 101
        thresholds, means over the classes with objects, 0 for 0 / 0.
    """
    num = len(num_objects)
    # The last threshold that a score reaches
    place = np.searchsorted(THRESHOLDS, score.astype(np.float64), 'right') - 1
    shape = (num, len(THRESHOLDS))
    counts = []
    for chosen in (is_true, ~is_true):
        flat = label[chosen] * len(THRESHOLDS) + place[chosen]
        table = np.bincount(flat, minlength=num * len(THRESHOLDS))
        counts.append(table.reshape(shape)[:, ::-1].cumsum(axis=1)[:, ::-1])
    hits, others = counts
    precision = _ratio(hits, hits + others)
    recall = _ratio(hits, np.broadcast_to(num_objects[:, None], shape))
    f1 = _ratio(2 * precision * recall, precision + recall)
    return Sweep(precision, recall, f1, num_objects > 0)


def calibrate(score: np.ndarray, is_true: np.ndarray) -> dict[str, Any]:
    """Compare scores with how often detections are right.

    Args:
        score: Scores of the detections that count.
        is_true: Whether each has found its object.

    Returns:
        ``ece``, the expected calibration error: the gap between mean score
        and share of right ones, over the bins by their detections; ``bins``
        with ``low``, ``high``, ``count``, ``score`` and ``precision``. Scores
        below ``min_score`` do not count.
    """
    edges = np.linspace(0, 1, NUM_BINS + 1)
    is_kept = score >= MIN_SCORE
    score, is_true = score[is_kept], is_true[is_kept]
    place = np.clip(
        np.searchsorted(edges, score, 'right') - 1, 0, NUM_BINS - 1
    )
    count = np.bincount(place, minlength=NUM_BINS)
    of_scores = np.bincount(place, score, NUM_BINS)
    of_hits = np.bincount(place, is_true, NUM_BINS)
    gaps = np.abs(of_scores - of_hits).sum()
    return dict(
        ece=float(gaps / count.sum()) if count.sum() else None,
        min_score=MIN_SCORE,
        bins=[
            dict(
                low=float(edges[at]),
                high=float(edges[at + 1]),
                count=int(count[at]),
                score=float(of_scores[at] / count[at]) if count[at] else None,
                precision=float(of_hits[at] / count[at])
                if count[at]
                else None,
            )
            for at in range(NUM_BINS)
        ],
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(
        part, whole, np.zeros(part.shape), where=np.asarray(whole) > 0
    )
