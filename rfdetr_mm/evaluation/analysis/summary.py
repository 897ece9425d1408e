"""All numbers of a report at once."""

import dataclasses
from typing import Any

import numpy as np

from .average_precision import IOUS, RECALLS, coco_tables, mean_of_known
from .columns import Scene
from .confidence import THRESHOLDS, Sweep, calibrate, sweep_thresholds
from .confusion import confusion_matrix
from .distributions import spread_of
from .error_kinds import MEANINGS, ErrorKinds, find_error_kinds
from .examples import find_examples
from .matching import MATCH, NEAR, find_pairs, match_by_class

# Name of a number: (place of its IoU or None for all, place of its area)
TABLE = {
    'AP': (None, 0),
    'AP50': (0, 0),
    'AP75': (5, 0),
    'AP_small': (None, 1),
    'AP_medium': (None, 2),
    'AP_large': (None, 3),
}


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The numbers of the detections of a data set.

    Args:
        scene: Objects, and the detections that count.
        numbers: All numbers, plain lists and dicts that JSON can hold.
        errors: The kind of each detection.
    """

    scene: Scene
    numbers: dict[str, Any]
    errors: ErrorKinds


def analyse(scene: Scene, num_examples: int = 12) -> Analysis:
    """Compute everything that a report shows, besides pictures and times.

    Numbers are 0 to 1; -1 stands for those of no object, None for a mean of
    nothing.

    Args:
        scene: Objects and detections, in any order within an image.
        num_examples: How many misses, false alarms and suspects.

    Returns:
        The numbers, and the scene with the detections that count.

    Raises:
        InputError: If vernier is not installed.
    """
    num_given = len(scene.detections)
    finite = scene.detections.finite()
    best = finite.best(scene.maximum)
    scene = dataclasses.replace(scene, detections=best)
    pairs = find_pairs(scene)
    matched = match_by_class(scene, pairs)
    errors = find_error_kinds(scene, pairs, matched)
    is_counted = errors.kind != 'ignored'
    is_true = errors.kind == 'right'
    num_objects = np.bincount(
        scene.objects.label[~scene.is_ignored], minlength=len(scene.classes)
    )
    sweep = _sweep(scene, errors)
    threshold = sweep.best()['threshold']
    numbers = dict(
        kind=scene.kind,
        classes=list(scene.classes),
        num_images=len(scene.image_ids),
        num_objects=int(num_objects.sum()),
        num_detections=num_given,
        num_counted=len(best),
        num_non_finite=num_given - len(finite),
        max_detections=scene.maximum,
        match=MATCH,
        **_tables(*coco_tables(scene), sweep, num_objects, scene.classes),
        best=sweep.best(),
        f1=_f1(sweep),
        confusion=dict(
            threshold=threshold,
            table=confusion_matrix(scene, pairs, matched, threshold).tolist(),
        ),
        errors=_errors(errors),
        calibration=calibrate(best.score[is_counted], is_true[is_counted]),
        spread=spread_of(scene, is_true, is_counted, threshold),
        examples=find_examples(
            scene, matched, errors, threshold, num_examples
        ),
    )
    return Analysis(scene, numbers, errors)


def sweep_of(scene: Scene) -> Sweep:
    """Precision, recall and F1 by score, as in the report.

    Args:
        scene: Objects and detections, in any order within an image.

    Returns:
        The sweep.
    """
    best = scene.detections.finite().best(scene.maximum)
    scene = dataclasses.replace(scene, detections=best)
    pairs = find_pairs(scene)
    errors = find_error_kinds(scene, pairs, match_by_class(scene, pairs))
    return _sweep(scene, errors)


def _sweep(scene: Scene, errors: ErrorKinds) -> Sweep:
    best = scene.detections
    is_counted = errors.kind != 'ignored'
    num_objects = np.bincount(
        scene.objects.label[~scene.is_ignored], minlength=len(scene.classes)
    )
    return sweep_thresholds(
        best.label[is_counted],
        best.score[is_counted],
        (errors.kind == 'right')[is_counted],
        num_objects,
    )


def _f1(sweep: Sweep) -> dict[str, Any]:
    names = ('precision', 'recall', 'f1')
    return dict(
        thresholds=THRESHOLDS.tolist(),
        **{name: sweep.mean(name).tolist() for name in names},
        f1_of_classes=sweep.f1.tolist(),
    )


def _errors(errors: ErrorKinds) -> dict[str, Any]:
    return dict(
        near=NEAR,
        ap50=errors.ap50,
        gains=errors.gains,
        counts=errors.counts,
        meanings=MEANINGS,
        gain_without_false=errors.gain_without_false,
        gain_without_missed=errors.gain_without_missed,
    )


def _tables(
    precision: np.ndarray,
    recall: np.ndarray,
    sweep: Sweep,
    num_objects: np.ndarray,
    classes: tuple[str, ...],
) -> dict[str, Any]:
    """AP over all classes and of each, and precision over recall."""

    def row(at: Any) -> dict[str, float]:
        values = {
            name: mean_of_known(precision[iou, :, at, area])
            if iou is not None
            else mean_of_known(precision[:, :, at, area])
            for name, (iou, area) in TABLE.items()
        }
        return {**values, 'AR': mean_of_known(recall[:, at, 0])}

    everything = slice(None)
    of_classes = [
        {
            'class': name,
            'objects': int(num_objects[label]),
            **row(label),
            **{
                ('best_threshold' if key == 'threshold' else key): value
                for key, value in best.items()
            },
        }
        for label, (name, best) in enumerate(
            zip(classes, sweep.best_of_classes())
        )
    ]
    curves = {
        f'{IOUS[at]:.2f}': _mean_curve(precision[at, :, :, 0]) for at in (0, 5)
    }
    curves['0.50:0.95'] = _mean_curve(
        precision[..., 0].transpose(1, 0, 2).reshape(len(RECALLS), -1)
    )
    return dict(
        overall=row(everything),
        of_classes=of_classes,
        precision_recall=dict(
            recalls=RECALLS.tolist(),
            precision=curves,
            precision_50_of_classes=precision[0, :, :, 0].T.tolist(),
        ),
    )


def _mean_curve(precision: np.ndarray) -> list[float]:
    """Mean over the columns that are known, -1 without any."""
    known = precision[:, (precision > -1).all(axis=0)]
    if not known.size:
        return [-1.0] * len(precision)
    return known.mean(axis=1).tolist()
