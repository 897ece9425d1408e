"""COCO's metric with categories matched by the names of the classes."""

import logging
import os.path as osp
import tempfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine import fileio
from mmengine.logging import print_log

from rfdetr_mm.datasets.coco_file import (
    CocoFile,
    check_classes,
    label_of_category,
    read_coco_file,
    visible_box,
)
from rfdetr_mm.datasets.coco_masks import MISSING, check_mask
from rfdetr_mm.errors import InputError


@METRICS.register_module()
class NamedCocoMetric(CocoMetric):
    """``CocoMetric`` that counts no detection under a wrong class.

    Labels are the positions of the names in the ``classes`` of the data set,
    whatever the order and the ids of the categories in ``ann_file``, where
    mmdet takes the order of the file. Detections of a class that the file
    does not have count nowhere, and the class has no average precision
    (``nan`` with ``classwise``).

    The file is checked on construction. Its boxes are evaluated as they are
    written, also where they reach over the border of the image, as COCO's
    protocol says; only boxes that no detection can match (without area, or
    wholly outside) are left out, and with the metric ``segm`` masks without
    area. All are logged with their count.

    Without any detection in the whole data set, AP is 0, where mmdet gives
    no value.

    Detections whose box or score is not finite, of a diverged model, count
    nowhere; pycocotools would take an IoU that is not a number for a match.
    Their number is logged, and is the metric ``non_finite`` if there are
    any: ``SafeCheckpointHook`` takes no such checkpoint for the best.

    Args:
        ann_file: Annotation file; None takes the boxes from the data loader.
        crowd_as_object: Whether ``iscrowd`` is not looked at, as in
            ``NamedCocoDataset``.
        keep_results: Whether ``kept`` holds (truth, prediction) of each
            image after an evaluation, for a report.
        **kwargs: Arguments as for ``CocoMetric``.

    Raises:
        InputError: If ``proposal_nums`` lacks the 100 that COCO's mAP counts,
            or the file is not usable (see ``read_coco_file``), has
            no box to evaluate or, with ``segm``, lacks a mask. Later, if it
            does not fit the classes (see ``label_of_category``) or the
            images of the data loader, or if that lacks a mask.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        crowd_as_object: bool = False,
        keep_results: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(ann_file=None, **kwargs)
        self.keep_results = keep_results
        self.kept: list = []
        self._check_limits()
        self._file: CocoFile | None = None
        self._category_ids: list[int] = []  # of each label
        if ann_file is None:
            return
        file = read_coco_file(ann_file, self.backend_args)
        if crowd_as_object:
            for annotation in file.annotations:
                annotation['iscrowd'] = 0
        annotations = _matchable(file, 'segm' in self.metrics)
        if not annotations and not self.format_only:
            raise InputError(
                f'{ann_file} has no box to evaluate detections against '
                f'({len(file.annotations)} annotations). Take a file with '
                'boxes; to only write the detections, set format_only=True.'
            )
        self._file = file
        self._coco_api = _CheckedCOCO(
            dict(
                images=list(file.images),
                annotations=annotations,
                categories=list(file.categories),
            )
        )

    def _check_limits(self) -> None:
        """Of detections per image: pycocotools' mAP is that of 100."""
        if {'bbox', 'segm'} & {*self.metrics} and (
            100 not in self.proposal_nums
        ):
            raise InputError(
                f'{type(self).__name__} counts the best 100 detections of an '
                'image for mAP, so proposal_nums must hold 100, got '
                f'{tuple(self.proposal_nums)}; to count others, take '
                "type='VernierCocoMetric' with them"
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics from processed results.

        Args:
            results: (truth, prediction) of each image, see ``process``.

        Returns:
            The metrics as CocoMetric names them.

        Raises:
            InputError: If classes or images do not fit the annotation file.
        """
        num_non_finite = self.match_results(results)
        metrics = super().compute_metrics(results)
        return {**metrics, **num_non_finite}

    def match_results(self, results: list) -> dict[str, int]:
        """Find truth and category ids for what is evaluated.

        Args:
            results: (truth, prediction) of each image; predictions that are
                not finite are left out, in place.

        Returns:
            ``non_finite``: how many detections were left out, if any.

        Raises:
            InputError: If classes or images do not fit the annotation file.
        """
        num = sum(_leave_out_non_finite(found) for _, found in results)
        if num:
            print_log(
                f'{num} detections with a box or score that is not finite '
                '(nan or inf) are left out of the evaluation. The model has '
                'diverged, or its file was quantised badly; this is not '
                'counted as the best checkpoint. Lower the learning rate, or '
                'turn mixed precision off.',
                logger='current',
                level=logging.WARNING,
            )
        self._find_truth(results)
        if self.keep_results:
            self.kept = results
        return dict(non_finite=num) if num else {}

    def image_ids(self) -> list[int]:
        """Ids of the images of the truth, ascending."""
        return sorted(self._coco_api.get_img_ids())

    def label_of_category(self) -> dict[int, int]:
        """Category id to label; only after :meth:`match_results`."""
        return {key: label for label, key in enumerate(self._category_ids)}

    def mask_of(self, annotation: dict[str, Any]) -> dict[str, Any]:
        """The mask of one of the annotations of :meth:`truth`.

        Args:
            annotation: The annotation.

        Returns:
            COCO's run-length encoding, with bytes.
        """
        return plain_rle(self._coco_api.annToRLE(annotation))

    def max_detections(self, kind: str) -> int:
        """Detections of a class in an image that count for mAP.

        Args:
            kind: 'bbox' or 'segm'.
        """
        return 100

    def truth(self, results: list, kind: str) -> tuple[list[dict], dict]:
        """The annotations that detections are compared with.

        Args:
            results: What :meth:`match_results` was called with.
            kind: 'bbox' or 'segm'.

        Returns:
            COCO's annotations, and nothing: sigmas belong to keypoints.
        """
        return list(self._coco_api.dataset['annotations']), {}

    def _find_truth(self, results: list) -> None:
        if self._file is None:
            self._coco_api = self._coco_api or self._truth_of_loader(results)
            self._category_ids = list(range(len(self.dataset_meta['classes'])))
        elif self.cat_ids is None:
            self._category_ids = self._match_classes()
            self._check_images(results)
            for truth, _ in results:
                image = self._coco_api.imgs[truth['img_id']]
                if image['height'] is None:  # not in the file
                    image.update(height=truth['height'], width=truth['width'])
        # Ascending, as COCOeval orders them, whose columns mmdet's table of
        # classes names by their position in cat_ids.
        self.cat_ids = sorted(self._category_ids)

    def results2json(
        self, results: Sequence[dict], outfile_prefix: str
    ) -> dict[str, str]:
        """Write detections to JSON files, with category ids of the file.

        Args:
            results: Results with ``labels``, positions in the classes.
            outfile_prefix: Beginning of the file names.

        Returns:
            Kind of result to file name.
        """
        positions = np.argsort(np.argsort(self._category_ids))
        results = [
            dict(result, labels=positions[result['labels']])
            for result in results
        ]
        return super().results2json(results, outfile_prefix)

    def _match_classes(self) -> list[int]:
        """Return the category id of each label, made up if there is none."""
        classes = self.dataset_meta['classes']
        label_of = label_of_category(self._file, classes)
        id_of = {label: cat_id for cat_id, label in label_of.items()}
        free = 1 + max(category['id'] for category in self._file.categories)
        for label, name in enumerate(classes):
            if label not in id_of:
                id_of[label] = free + label
                self._coco_api.cats[free + label] = dict(
                    id=free + label, name=name
                )
        return [id_of[label] for label in range(len(classes))]

    def _check_images(self, results: list) -> None:
        tested = {truth['img_id'] for truth, _ in results}
        known = set(self._coco_api.get_img_ids())
        if tested - known:
            raise InputError(
                f'{self._file.path} has no image with the ids '
                f'{sorted(tested - known)[:3]}, which the data loader gave '
                f'({len(tested - known)} of {len(tested)} images). Set the '
                'same ann_file for data loader and evaluator.'
            )
        if known - tested:
            print_log(
                f'{len(known - tested)} of {len(known)} images of '
                f'{self._file.path} were not tested; their boxes count as '
                'not found.',
                logger='current',
                level=logging.WARNING,
            )

    def _truth_of_loader(self, results: list) -> COCO:
        check_classes(self.dataset_meta['classes'])
        if not self.format_only and not any(t['anns'] for t, _ in results):
            raise InputError(
                'There is no box to evaluate detections against: none of '
                f'{len(results)} images of the data loader has an object. '
                'Check where its labels lie; to only write the detections, '
                'set format_only=True.'
            )
        if 'segm' in self.metrics:
            _check_masks([truth for truth, _ in results])
        with tempfile.TemporaryDirectory() as folder:
            prefix = self.outfile_prefix or osp.join(folder, 'truth')
            truths = [truth for truth, _ in results]
            path = self.gt_to_coco_json(truths, prefix)
            return _CheckedCOCO(fileio.load(path))


def plain_rle(rle: dict[str, Any]) -> dict[str, Any]:
    """An RLE with bytes, whether it was made text for a JSON file or not.

    Args:
        rle: COCO's run-length encoding, with ``size`` and ``counts``.
    """
    counts = rle['counts']
    if isinstance(counts, str):
        counts = counts.encode()
    return dict(size=list(rle['size']), counts=counts)


def _leave_out_non_finite(found: dict[str, Any]) -> int:
    """Leave detections of one image out, in place; give their number.

    Labels become whole numbers: those of no detections may be floats.
    """
    bboxes = np.asarray(found['bboxes']).reshape(-1, 4)
    scores = np.asarray(found['scores'])
    is_finite = np.isfinite(bboxes).all(axis=1) & np.isfinite(scores)
    if 'mask_scores' in found:
        is_finite &= np.isfinite(found['mask_scores'])
    if 'keypoints' in found:
        is_finite &= np.isfinite(found['keypoints']).all(axis=(1, 2))
    found['labels'] = np.asarray(found['labels']).astype(np.int64)
    found['bboxes'] = bboxes
    num = int((~is_finite).sum())
    if num:
        for name in ('bboxes', 'scores', 'labels', 'mask_scores', 'keypoints'):
            if name in found:
                found[name] = found[name][is_finite]
        if 'masks' in found:
            found['masks'] = [
                mask
                for mask, is_kept in zip(found['masks'], is_finite)
                if is_kept
            ]
    return num


class _CheckedCOCO(COCO):
    """COCO's index of a content in memory, which takes no detections, too."""

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__()
        self.dataset = content
        self.createIndex()

    def loadRes(self, detections: list[dict[str, Any]]) -> Any:  # noqa: N802
        """Index detections; pycocotools fails on an empty list."""
        if detections:
            return super().loadRes(detections)
        return _CheckedCOCO(dict(self.dataset, annotations=[]))


def _check_masks(truths: list[dict[str, Any]]) -> None:
    for truth in truths:
        if not all(instance.get('mask') for instance in truth['anns']):
            raise InputError(
                f'An object of the image {truth["img_id"]} has a box but no '
                'mask to evaluate masks against. Take labels with masks, or '
                "metric='bbox'."
            )


def _matchable(file: CocoFile, with_mask: bool) -> list[dict[str, Any]]:
    """Return the annotations that a detection can match; log the others."""
    images = {image['id']: image for image in file.images}
    kept = []
    counts: Counter[str] = Counter()
    for annotation in file.annotations:
        x, y, w, h = annotation['bbox']
        image = images[annotation['image_id']]
        box = visible_box(annotation['bbox'], image)
        problem = None
        if with_mask:
            mask = check_mask(annotation, image, file.path)
            problem = mask.problem
            counts['parts'] += mask.num_dropped
            annotation = dict(annotation, segmentation=mask.segmentation)
        if problem == MISSING:
            raise InputError(
                f'{file.path}: the annotation {annotation["id"]} has no mask '
                '(segmentation) to evaluate masks against. Take a file with '
                "masks, or metric='bbox'."
            )
        if box is None or problem:
            counts['left out'] += 1
        else:
            counts['cut'] += box != (x, y, x + w, y + h)
            # Ids from 1: pycocotools takes a match with id 0 for none.
            kept.append(dict(annotation, id=len(kept) + 1))
    if counts.total():
        print_log(
            f'{file.path}: {counts["left out"]} of {len(file.annotations)} '
            'objects are not evaluated, because they are without area or '
            f'outside their image; {counts["cut"]} reach over its border '
            f'and are evaluated as they are written; {counts["parts"]} '
            'polygons without area are left out of their masks.',
            logger='current',
            level=logging.WARNING
            if counts['left out'] or counts['parts']
            else logging.INFO,
        )
    return kept
