"""COCO's metric by vernier, a compiled evaluator with the same numbers."""

from typing import Any

import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.logging import MMLogger

from rfdetr_mm.errors import InputError

from .named_coco_metric import NamedCocoMetric, plain_rle
from .vernier_grid import evaluate_grid, import_vernier

NAMES = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


@METRICS.register_module()
class VernierCocoMetric(NamedCocoMetric):
    """``NamedCocoMetric`` evaluated by vernier: the same AP, sooner.

    Detections go to the evaluator as arrays and not through a JSON file.
    Needs ``pip install vernier``.

    Differs from its parent: AP is not rounded to three decimals, and with
    ``classwise`` each class gets ``{name}_precision`` without a table in the
    log.

    Args:
        **kwargs: Arguments as for ``NamedCocoMetric``. ``metric`` may be
            'bbox', 'segm' or both; AP counts the last of ``proposal_nums`` of
            an image's detections, by default 100.

    Raises:
        InputError: For other metrics or IoU thresholds, or if vernier is not
            installed.

    Source: see :func:`rfdetr_mm.evaluation.vernier_grid.evaluate_grid`.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault('proposal_nums', (1, 10, 100))
        super().__init__(**kwargs)
        if not set(self.metrics) <= {'bbox', 'segm'}:
            raise InputError(
                'VernierCocoMetric evaluates bbox and segm, got metric='
                f'{self.metrics}; take NamedCocoMetric for the others.'
            )
        import_vernier()

    def _check_limits(self) -> None:
        """Any will do."""

    def max_detections(self, kind: str) -> int:
        """Detections of a class in an image that count for mAP.

        Args:
            kind: 'bbox' or 'segm'.
        """
        return self.proposal_nums[-1]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics from processed results.

        Args:
            results: (truth, prediction) of each image, see ``process``.

        Returns:
            The metrics as CocoMetric names them, not rounded.

        Raises:
            InputError: If classes or images do not fit the annotation file.
        """
        if self.format_only:
            return super().compute_metrics(results)
        num_non_finite = self.match_results(results)
        if self.outfile_prefix is not None:
            predictions = [prediction for _, prediction in results]
            self.results2json(predictions, self.outfile_prefix)
        logger = MMLogger.get_current_instance()
        found: dict[str, float] = {}
        for metric in self.metrics:
            precision, _ = evaluate_grid(
                metric,
                self._truth_columns(metric),
                self._detection_columns(results, metric),
                self.cat_ids,
                self.proposal_nums[-1],
                self.iou_thrs,
                torch.get_num_threads(),
            )
            values = _average_precisions(precision)
            for name in self.metric_items or NAMES:
                found[f'{metric}_{name}'] = values[name]
            if self.classwise:
                found.update(self._of_classes(precision))
            shown = ' '.join(f'{values[name]:.3f}' for name in NAMES)
            logger.info(f'{metric}_mAP_copypaste: {shown}')
        return {**found, **num_non_finite}

    def _truth_columns(self, metric: str) -> dict[str, Any]:
        """Objects of all images of the file, image after image."""
        image_ids = sorted(self._coco_api.get_img_ids())
        known = set(self.cat_ids)
        groups = [
            [
                a
                for a in self._coco_api.imgToAnns[key]
                if a['category_id'] in known
            ]
            for key in image_ids
        ]
        annotations = [ann for group in groups for ann in group]
        columns = dict(
            boxes=_rows([ann['bbox'] for ann in annotations]),
            labels=np.array([a['category_id'] for a in annotations], np.int64),
            iscrowd=np.array([a.get('iscrowd', 0) for a in annotations], bool),
            area=np.array([a['area'] for a in annotations], np.float64),
            counts=np.array([len(group) for group in groups], np.int64),
        )
        if metric == 'segm':
            columns['rles'] = [
                plain_rle(self._coco_api.annToRLE(ann)) for ann in annotations
            ]
        return columns

    def _detection_columns(self, results: list, metric: str) -> dict[str, Any]:
        """Detections of all images of the file, in the same order."""
        found = {truth['img_id']: pred for truth, pred in results}
        ids = np.array(self._category_ids, np.int64)
        boxes, scores, labels, rles, counts = [], [], [], [], []
        for key in sorted(self._coco_api.get_img_ids()):
            prediction = found.get(key)
            counts.append(
                0 if prediction is None else len(prediction['labels'])
            )
            if not counts[-1]:
                continue
            boxes.append(prediction['bboxes'])
            labels.append(ids[prediction['labels']])
            kind = 'scores'
            if metric == 'segm':
                rles += [plain_rle(rle) for rle in prediction['masks']]
                kind = 'mask_scores' if 'mask_scores' in prediction else kind
            scores.append(prediction[kind])
        corners = _rows(boxes and np.concatenate(boxes))
        corners[:, 2:] -= corners[:, :2]
        columns = dict(
            boxes=corners,
            scores=np.concatenate(scores or [np.zeros(0)]).astype(np.float64),
            labels=np.concatenate(labels or [np.zeros(0, np.int64)]),
            counts=np.array(counts, np.int64),
        )
        if metric == 'segm':
            columns['rles'] = rles
        return columns

    def _of_classes(self, precision: np.ndarray) -> dict[str, float]:
        """AP of each class.

        Args:
            precision: Shape (IoUs, recalls, classes, areas), -1 where there
                is not an object.
        """
        values = {}
        for number, key in enumerate(self.cat_ids):
            name = self._coco_api.cats[key]['name']
            values[f'{name}_precision'] = _mean_of_known(
                precision[:, :, number, 0], float('nan')
            )
        return values


def _average_precisions(precision: np.ndarray) -> dict[str, float]:
    """AP by its name in ``NAMES``.

    Args:
        precision: Shape (IoUs from 0.5 to 0.95, recalls, classes, areas: all,
            small, medium, large), -1 where there is not an object.
    """
    parts = [precision[..., 0], precision[0, ..., 0], precision[5, ..., 0]]
    parts += [precision[..., area] for area in (1, 2, 3)]
    return {n: _mean_of_known(part, -1.0) for n, part in zip(NAMES, parts)}


def _mean_of_known(precision: np.ndarray, otherwise: float) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else otherwise


def _rows(boxes: Any) -> np.ndarray:
    """Boxes as float64, shape (n, 4), also for none."""
    return np.array(boxes, np.float64).reshape(-1, 4)
