"""Loading, mirroring and packing of keypoints."""

import numpy as np
import torch
from mmdet.datasets.transforms import (
    LoadAnnotations,
    PackDetInputs,
    RandomFlip,
)
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes

from rfdetr_mm.errors import InputError

from .pose_boxes import PoseBoxes


@TRANSFORMS.register_module()
class LoadPoseAnnotations(LoadAnnotations):
    """mmdet's ``LoadAnnotations`` that loads keypoints with the boxes.

    The data sets of this package read keypoints if it is in their pipeline.
    ``gt_bboxes`` are :class:`PoseBoxes` then, which all transforms of mmdet
    move as they move boxes.

    Takes what ``LoadAnnotations`` takes.
    """

    def transform(self, results: dict) -> dict:
        """Load the annotations of an image.

        Args:
            results: The pipeline's dict with ``instances`` that have
                ``keypoints``, and ``keypoint_info`` of the data set.

        Returns:
            The same with ``gt_bboxes``.

        Raises:
            InputError: If there are annotations, and the data set reads no
                keypoints.
        """
        results = super().transform(results)
        info = results.get('keypoint_info')
        if info is None and 'instances' not in results:
            return results  # an inferencer, which has no annotations
        if info is None:
            raise InputError(
                'LoadPoseAnnotations needs a data set that reads keypoints, '
                'such as NamedCocoDataset or YoloDataset'
            )
        keypoints = torch.tensor(
            [x['keypoints'] for x in results['instances']], dtype=torch.float32
        ).reshape(-1, info['largest'], 3)
        results['gt_bboxes'] = PoseBoxes(
            results['gt_bboxes'].tensor,
            keypoints,
            _mirrors(info, results['gt_bboxes_labels']),
            clone=False,
        )
        return results


def _mirrors(info: dict, labels: np.ndarray) -> torch.Tensor | None:
    if info['mirrors'] is None:
        return None
    largest = info['largest']
    table = torch.arange(largest).repeat(len(info['mirrors']), 1)
    for row, mirror in zip(table, info['mirrors']):
        row[: len(mirror)] = torch.tensor(mirror, dtype=torch.long)
    return table[torch.as_tensor(labels, dtype=torch.long)]


@TRANSFORMS.register_module()
class PoseRandomFlip(RandomFlip):
    """mmdet's ``RandomFlip`` that leaves unknown sides as they are.

    Images of a data set that does not tell which keypoints are left and
    right are never mirrored, whatever is in them.

    Takes what ``RandomFlip`` takes.
    """

    def transform(self, results: dict) -> dict:
        """Mirror an image with some probability.

        Args:
            results: The pipeline's dict with ``gt_bboxes`` of
                :class:`LoadPoseAnnotations`.

        Returns:
            The same, mirrored or not.
        """
        boxes = results.get('gt_bboxes')
        if isinstance(boxes, PoseBoxes) and boxes.mirrors is None:
            results.update(flip=False, flip_direction=None)
            return results
        return super().transform(results)


@TRANSFORMS.register_module()
class PackPoseInputs(PackDetInputs):
    """mmdet's ``PackDetInputs`` with keypoints.

    ``gt_instances`` gets ``keypoints``, (x, y, visibility) in pixels of the
    image, shape (num_objects, largest number of keypoints, 3), and, where it
    is known, ``keypoint_mirrors``, the number of the keypoint that each one
    becomes in a mirror, without the last dimension.

    Takes what ``PackDetInputs`` takes.
    """

    mapping_table = {
        **PackDetInputs.mapping_table,
        'gt_keypoints': 'keypoints',
        'gt_keypoint_mirrors': 'keypoint_mirrors',
    }

    def transform(self, results: dict) -> dict:
        """Pack an image and its objects.

        Args:
            results: The pipeline's dict with ``gt_bboxes`` of
                :class:`LoadPoseAnnotations`, or without annotations.

        Returns:
            ``inputs`` and ``data_samples``.
        """
        boxes = results.get('gt_bboxes')
        if isinstance(boxes, PoseBoxes):
            results['gt_bboxes'] = HorizontalBoxes(boxes.tensor, clone=False)
            results['gt_keypoints'] = boxes.keypoints
            if boxes.mirrors is not None:
                results['gt_keypoint_mirrors'] = boxes.mirrors
        return super().transform(results)
