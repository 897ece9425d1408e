"""Match costs of keypoints."""

from collections.abc import Callable

import torch
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from ..layers.keypoint_schema import KeypointSchema
from ..layers.keypoint_terms import (
    findable_term,
    l1_term,
    nll_term,
    visible_term,
)


class KeypointCost(BaseMatchCost):
    """One term of every prediction with every object.

    Args:
        weight: Factor on the cost.

    Source: rfdetr 1.11.2, models/heads/keypoints.py,
        compute_keypoint_matching_cost.
    """

    term: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

    def __call__(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        img_meta: dict | None = None,
        **kwargs,
    ) -> Tensor:
        """Cost of every prediction with every object.

        Args:
            pred_instances: ``keypoints``, in the compact layout of
                ``schema`` in its meta data (:class:`KeypointSchema`), shape
                (num_preds, num_keypoints, 8).
            gt_instances: ``labels``, shape (num_gts,), ``bboxes`` (x1, y1,
                x2, y2) in pixels of the network's input, shape (num_gts,
                4), and ``keypoints``, normalised x and y and COCO's
                visibility, shape (num_gts, largest number of keypoints, 3).
            img_meta: Meta data with ``img_shape``, (h, w) in pixels.
            **kwargs: Not used.

        Returns:
            Shape (num_preds, num_gts), finite.
        """
        schema: KeypointSchema = pred_instances.schema
        preds, targets = pred_instances.keypoints, gt_instances.keypoints
        sizes = gt_instances.bboxes[:, 2:] - gt_instances.bboxes[:, :2]
        height, width = img_meta['img_shape'][:2]
        areas = sizes.prod(dim=1) / (height * width)
        cost = preds.new_zeros(len(preds), len(targets))
        for label, part in enumerate(schema.parts()):
            rows = (gt_instances.labels == label).nonzero().squeeze(1)
            count = schema.counts[label]
            if count and len(rows):
                cost[:, rows] = type(self).term(
                    preds[:, None, part],
                    targets[rows, :count],
                    areas[rows],
                    torch.ones_like(targets[rows, :count, 0], dtype=bool),
                )
        return cost * self.weight


@TASK_UTILS.register_module()
class KeypointL1Cost(KeypointCost):
    """:func:`~..layers.keypoint_terms.l1_term` as a cost."""

    term = staticmethod(l1_term)


@TASK_UTILS.register_module()
class KeypointFindableCost(KeypointCost):
    """:func:`~..layers.keypoint_terms.findable_term` as a cost."""

    term = staticmethod(findable_term)


@TASK_UTILS.register_module()
class KeypointVisibleCost(KeypointCost):
    """:func:`~..layers.keypoint_terms.visible_term` as a cost."""

    term = staticmethod(visible_term)


@TASK_UTILS.register_module()
class KeypointNLLCost(KeypointCost):
    """:func:`~..layers.keypoint_terms.nll_term` as a cost."""

    term = staticmethod(nll_term)
