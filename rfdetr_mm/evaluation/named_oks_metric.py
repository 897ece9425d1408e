"""COCO's metric of keypoints, classes matched by their names."""

import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.logging import print_log
from pycocotools.cocoeval import COCOeval, Params

from rfdetr_mm.datasets.keypoint_reader import (
    KeypointReader,
    checked_keypoints,
)
from rfdetr_mm.errors import InputError

from .named_coco_metric import NamedCocoMetric, _CheckedCOCO

MAX_DETECTIONS = 20  # of an image, as COCO counts people
DEFAULT_SIGMA = 0.05
# Place in pycocotools' table of the metrics of keypoints
STATS = {
    'keypoint_mAP': 0,
    'keypoint_mAP_50': 1,
    'keypoint_mAP_75': 2,
    'keypoint_mAR': 5,
}

Sigmas = Sequence[float] | Mapping[str, Sequence[float]] | None


@METRICS.register_module()
class NamedOksMetric(NamedCocoMetric):
    """:class:`NamedCocoMetric` of boxes, and of keypoints besides.

    The similarity of keypoints (OKS) takes the place of the IoU: COCO's
    ``keypoint_mAP``, ``keypoint_mAP_50``, ``keypoint_mAP_75`` and
    ``keypoint_mAR`` of the best 20 detections of an image, by pycocotools.
    Classes with equally many keypoints are evaluated together; the numbers
    are means over all classes that have keypoints in the annotations. -1
    stands for none.

    An object's keypoints are those that the annotation labels; ``area`` is
    the annotation's.

    Args:
        ann_file: Annotation file; None takes objects from the data loader.
        sigmas: How far annotators differ for each keypoint, over the root of
            the object's area: a list for classes of that many keypoints, or
            lists by the names of the classes. By default COCO's for 17
            keypoints, 0.05 for others.
        **kwargs: Arguments as for ``NamedCocoMetric``.

    Raises:
        InputError: As ``NamedCocoMetric``; if a sigma is not positive; later
            if there is another number of them than of keypoints.

    Source: pycocotools, COCOeval('keypoints'); rfdetr 1.11.2,
        evaluation/coco_eval.py and keypoint_oks.py.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        sigmas: Sigmas = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(ann_file=ann_file, **kwargs)
        by_name = sigmas if isinstance(sigmas, Mapping) else {'': sigmas or ()}
        for values in by_name.values():
            if not all(0 < value < math.inf for value in values):
                raise InputError(
                    'sigmas of keypoints must be positive numbers, got '
                    f'{list(values)}'
                )
        self.sigmas = sigmas

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep what was found in a batch of images.

        Args:
            data_batch: Not used.
            data_samples: Samples with ``pred_instances``, which have
                ``keypoints``.
        """
        super().process(data_batch, data_samples)
        kept = self.results[len(self.results) - len(data_samples) :]
        for (_, found), sample in zip(kept, data_samples):
            keypoints = sample['pred_instances']['keypoints']
            found['keypoints'] = keypoints.cpu().numpy()

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics of boxes and keypoints.

        Args:
            results: (truth, prediction) of each image, see :meth:`process`.

        Returns:
            The metrics as CocoMetric names them, and those of ``STATS``.

        Raises:
            InputError: If classes, images or sigmas do not fit.
        """
        metrics = super().compute_metrics(results)
        if self.format_only:
            return metrics
        counts = self._counts()
        truth = self._keypoint_truth(results, counts)
        detections = self._keypoint_detections(results, counts)
        groups = defaultdict(list)
        for label, count in enumerate(counts):
            if count:
                groups[tuple(self._sigmas_of(label, count))].append(
                    self._category_ids[label]
                )
        weighted: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for sigmas, cat_ids in groups.items():
            stats = _evaluate(truth, detections, cat_ids, sigmas)
            for name, place in STATS.items():
                weighted[name].append((float(stats[place]), len(cat_ids)))
        found = {name: _mean(values) for name, values in weighted.items()}
        print_log(
            'Keypoints: '
            + ', '.join(f'{name} {v:.4f}' for name, v in found.items()),
            logger='current',
        )
        return {**metrics, **found}

    def max_detections(self, kind: str) -> int:
        """Detections of a class in an image that count for mAP.

        Args:
            kind: 'bbox' or 'keypoints'.
        """
        if kind == 'keypoints':
            return MAX_DETECTIONS
        return super().max_detections(kind)

    def truth(self, results: list, kind: str) -> tuple[list[dict], dict]:
        """The annotations that detections are compared with.

        Args:
            results: What :meth:`match_results` was called with.
            kind: 'bbox' or 'keypoints'.

        Returns:
            COCO's annotations; and, for keypoints, label to its sigmas.
        """
        if kind != 'keypoints':
            return super().truth(results, kind)
        counts = self._counts()
        index = self._keypoint_truth(results, counts)
        sigmas = {
            label: tuple(self._sigmas_of(label, count))
            for label, count in enumerate(counts)
            if count
        }
        ids = {self._category_ids[label] for label in sigmas}
        return [
            annotation
            for annotation in index.dataset['annotations']
            if annotation['category_id'] in ids
        ], sigmas

    def _counts(self) -> tuple[int, ...]:
        """Keypoints of each class."""
        counts = self.dataset_meta.get('num_keypoints')
        if counts is not None:
            return tuple(counts)
        if self._file is None:
            raise InputError(
                'NamedOksMetric needs a data set with keypoints: put '
                'LoadPoseAnnotations into the pipeline of the data loader, or '
                'give ann_file'
            )
        classes = self.dataset_meta['classes']
        label_of = {cat: i for i, cat in enumerate(self._category_ids)}
        return KeypointReader.of_file(self._file, classes, label_of).counts

    def _sigmas_of(self, label: int, count: int) -> Sequence[float]:
        name = self.dataset_meta['classes'][label]
        given = self.sigmas
        if isinstance(given, Mapping):
            given = given.get(name)
        if given is None:
            return _default_sigmas(count)
        if len(given) != count:
            raise InputError(
                f'the class {name!r} has {count} keypoints, but sigmas has '
                f'{len(given)} numbers; for classes of other numbers of '
                'keypoints give lists by their names'
            )
        return given

    def _keypoint_truth(
        self, results: list, counts: Sequence[int]
    ) -> _CheckedCOCO:
        count_of = dict(zip(self._category_ids, counts))
        annotations = []
        if self._file is not None:
            # As it is written, also what no box can match.
            for annotation in self._file.annotations:
                points = checked_keypoints(annotation, self._file.path)
                annotations.append((annotation, points))
        else:
            for truth, _ in results:
                annotations += [
                    (_as_annotation(instance, truth['img_id']), points)
                    for instance in truth['anns']
                    for points in [instance['keypoints']]
                ]
        kept = []
        for annotation, points in annotations:
            count = count_of.get(annotation['category_id'], 0)
            values = [v for point in points[:count] for v in point]
            values += [0] * (3 * count - len(values))
            labelled = sum(v > 0 for v in values[2::3])
            kept.append(
                {
                    'num_keypoints': labelled,
                    **annotation,
                    'keypoints': values,
                    'id': len(kept) + 1,
                }
            )
        return _CheckedCOCO(
            dict(
                images=[dict(id=truth['img_id']) for truth, _ in results]
                if self._file is None
                else list(self._file.images),
                annotations=kept,
                categories=[dict(id=i) for i in self._category_ids],
            )
        )

    def _keypoint_detections(
        self, results: list, counts: Sequence[int]
    ) -> list[dict[str, Any]]:
        detections = []
        for _, found in results:
            for label, score, keypoints in zip(
                found['labels'], found['scores'], found['keypoints']
            ):
                count = counts[label]
                if count == 0:
                    continue
                points = np.ones((count, 3))
                points[:, :2] = keypoints[:count]
                detections.append(
                    dict(
                        image_id=found['img_id'],
                        category_id=self._category_ids[label],
                        score=float(score),
                        keypoints=points.flatten().tolist(),
                    )
                )
        return detections


def _default_sigmas(count: int) -> Sequence[float]:
    coco = Params(iouType='keypoints').kpt_oks_sigmas
    if count == len(coco):
        return coco.tolist()
    print_log(
        f'sigmas of {count} keypoints are not given; {DEFAULT_SIGMA} is taken '
        'for each of them.',
        logger='current',
        level=logging.WARNING,
    )
    return [DEFAULT_SIGMA] * count


def _as_annotation(instance: dict[str, Any], img_id: int) -> dict[str, Any]:
    x1, y1, x2, y2 = instance['bbox']
    return dict(
        image_id=img_id,
        category_id=instance['bbox_label'],
        bbox=[x1, y1, x2 - x1, y2 - y1],
        area=(x2 - x1) * (y2 - y1),
        iscrowd=int(instance.get('ignore_flag', 0)),
    )


def _evaluate(
    truth: _CheckedCOCO,
    detections: list[dict[str, Any]],
    cat_ids: list[int],
    sigmas: Sequence[float],
) -> np.ndarray:
    """Run pycocotools for classes with the same sigmas."""
    own = [d for d in detections if d['category_id'] in cat_ids]
    evaluation = COCOeval(truth, truth.loadRes(own), 'keypoints')
    evaluation.params.catIds = cat_ids
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def _mean(values: Sequence[tuple[float, int]]) -> float:
    """Mean of numbers with their weights; -1 is none."""
    known = [(value, weight) for value, weight in values if value > -1]
    if not known:
        return -1.0
    return sum(v * w for v, w in known) / sum(w for _, w in known)
