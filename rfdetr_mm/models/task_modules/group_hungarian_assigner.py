"""One-to-one matching inside each of several groups of queries."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import AssignResult, HungarianAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from rfdetr_mm.errors import InputError

from ..layers.image_size import image_sizes_px
from .batch_costs import batch_cost, can_batch, lift_half_precision
from .batch_objects import BatchObjects
from .group_matching import Matches, solve_groups

# Numbers in a cost matrix of all layers and images: 128 MiB. There are up to
# a dozen of that size at the same time.
MAX_COSTS_AT_ONCE = 2**25

# Predictions and objects of one image
Pair = tuple[InstanceData, InstanceData]


@TASK_UTILS.register_module()
class GroupHungarianAssigner(HungarianAssigner):
    """Hungarian assigner that matches every group of queries on its own.

    The predictions are cut into ``num_groups`` equal chunks of rows (group 0
    first) and each chunk is matched one-to-one with all ground truths, so a
    ground truth is matched once per group. With one group this is mmdet's
    ``HungarianAssigner``.

    The costs of all groups are computed together, in float32, and all
    problems of a batch are solved together (:func:`solve_groups`). Memory:
    the cost matrix of an image takes ``4 * num_preds * num_gts`` bytes; while
    mmdet's ``IoUCost`` runs, the peak is about 20 matrices of that size.
    RF-DETR's 3900 training queries with 300 ground truths: 4.7 MB and 90 MB.
    One image is matched at a time, and of the others the matrices alone are
    there. :meth:`match_at_once`, for GPUs, has the costs of all layers and
    images together.

    Differs from upstream: non-finite costs are replaced per image, where
    upstream takes the largest finite cost of the whole batch.

    Args:
        match_costs: Configs of the costs, summed in the given order.
        num_groups: Number of groups, unless :meth:`assign` is told another.

    Raises:
        TypeError: If ``match_costs`` is neither a dict nor a list of dicts.
        InputError: If there are no costs or ``num_groups`` is not a positive
            integer.

    Source: rfdetr 1.11.2, models/matcher.py, HungarianMatcher; Group DETR,
        https://arxiv.org/abs/2207.13085.
    """

    def __init__(
        self, match_costs: list[dict] | dict, num_groups: int = 1
    ) -> None:
        costs = [match_costs] if isinstance(match_costs, dict) else match_costs
        if not isinstance(costs, (list, tuple)):
            raise TypeError(
                'match_costs must be a config dict or a list of them, got '
                f'{type(match_costs).__name__}.'
            )
        if not all(costs) or not costs:
            raise InputError(
                'GroupHungarianAssigner needs at least one match cost and no '
                f"empty one, e.g. [dict(type='FocalLogitCost', weight=2.0)], "
                f'got {match_costs!r}.'
            )
        super().__init__(match_costs=list(costs))
        self.num_groups = _check_num_groups(num_groups)

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        img_meta: dict | None = None,
        num_groups: int | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """Match the predictions of one image.

        Args:
            pred_instances: Predictions of one image, group-major:
                ``scores``, class logits of shape (num_preds, num_classes),
                and ``bboxes``, xyxy in pixels of the network input, shape
                (num_preds, 4), as the costs need them.
            gt_instances: ``labels``, shape (num_gts,), and ``bboxes``, xyxy
                in pixels of the network input, shape (num_gts, 4).
            img_meta: Image information for the costs (``img_shape``).
            num_groups: Number of groups in ``pred_instances``, if other than
                that of the constructor.
            **kwargs: Not used.

        Returns:
            ``gt_inds``, shape (num_preds,): 1-based index of the matched
            ground truth, 0 for background. ``labels``, shape (num_preds,):
            its class, -1 for background.

        Raises:
            InputError: If the predictions do not divide into the groups.
        """
        if num_groups is None:
            num_groups = self.num_groups
        matches = self.match_layers(
            [[(pred_instances, gt_instances)]], [img_meta], num_groups
        )
        queries, objects = matches.queries[0], matches.objects[0]
        labels = gt_instances.labels
        gt_inds = labels.new_zeros(len(pred_instances), dtype=torch.long)
        gt_inds[queries] = objects + 1
        assigned = torch.full_like(gt_inds, -1)
        assigned[queries] = labels[objects].long()
        return AssignResult(
            num_gts=len(gt_instances),
            gt_inds=gt_inds,
            max_overlaps=None,
            labels=assigned,
        )

    def match_layers(
        self,
        layers: Iterable[Sequence[Pair]],
        img_metas: Sequence[dict | None],
        num_groups: int,
    ) -> Matches:
        """Match the predictions of several layers for a batch of images.

        Args:
            layers: The predictions of each layer and the objects of every
                image as :meth:`assign` takes them; layers have the same
                objects and equally many predictions.
            img_metas: The meta data of every image.
            num_groups: Groups in the predictions.

        Returns:
            The matches of all layers.

        Raises:
            InputError: If the predictions do not divide into the groups.
        """
        num_groups = _check_num_groups(num_groups)
        costs = []
        for pairs in layers:
            costs.append(self._costs_of_images(pairs, img_metas))
            num_objects = [len(objects) for _, objects in pairs]
        return solve_groups(torch.stack(costs), num_objects, num_groups)

    def matches_at_once(self, num_preds: int, max_gts: int) -> bool:
        """Whether :meth:`match_at_once` can be called, and has the memory.

        Args:
            num_preds: Predictions of all layers and images together.
            max_gts: Objects of the image that has most.
        """
        return can_batch(self.match_costs) and (
            num_preds * max_gts <= MAX_COSTS_AT_ONCE
        )

    def match_at_once(
        self,
        cls_scores: Tensor,
        bbox_preds: Tensor,
        objects: BatchObjects,
        img_metas: Sequence[dict],
        num_groups: int,
    ) -> Matches:
        """What :meth:`match_layers` gives, in few operations for a GPU.

        Args:
            cls_scores: Logits, shape (num_layers, bs, num_preds,
                num_classes).
            bbox_preds: Normalised (cx, cy, w, h), shape (num_layers, bs,
                num_preds, 4).
            objects: The objects of the batch, on the same device.
            img_metas: The meta data of every image.
            num_groups: Groups in the predictions.

        Returns:
            The matches of all layers.

        Raises:
            InputError: If the predictions do not divide into the groups.
        """
        num_objects = objects.counts()
        costs = cls_scores.new_zeros(
            *cls_scores.shape[:3], 0, dtype=torch.float
        )
        if any(num_objects):
            labels, gt_bboxes = objects.filled_up()
            sizes_px = image_sizes_px(gt_bboxes, img_metas)
            device_type = labels.device.type
            with torch.autocast(device_type, enabled=False):
                costs = replace_non_finite(
                    batch_cost(
                        self.match_costs,
                        cls_scores,
                        bbox_preds,
                        labels,
                        gt_bboxes,
                        sizes_px,
                    )
                )
        return solve_groups(costs, num_objects, num_groups)

    def _costs_of_images(
        self, pairs: Sequence[Pair], img_metas: Sequence[dict | None]
    ) -> Tensor:
        """Costs (bs, num_preds, max_gts), filled up with zeros."""
        max_gts = max(len(objects) for _, objects in pairs)
        costs = []
        for (preds, objects), img_meta in zip(pairs, img_metas):
            if len(preds) and len(objects):
                cost = self._cost_matrix(preds, objects, img_meta)
            else:
                cost = torch.empty(
                    (len(preds), len(objects)), device=objects.labels.device
                )
            costs.append(F.pad(cost, (0, max_gts - len(objects))))
        return torch.stack(costs)

    @torch.no_grad()
    def _cost_matrix(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        img_meta: dict | None,
    ) -> Tensor:
        """Weighted sum of all costs, finite.

        Returns:
            Shape (num_preds, num_gts).
        """
        pred_instances = _lift_instances(pred_instances)
        gt_instances = _lift_instances(gt_instances)
        device_type = gt_instances.labels.device.type
        with torch.autocast(device_type, enabled=False):
            cost = sum(
                match_cost(
                    pred_instances=pred_instances,
                    gt_instances=gt_instances,
                    img_meta=img_meta,
                )
                for match_cost in self.match_costs
            )
        return replace_non_finite(cost)


def replace_non_finite(costs: Tensor) -> Tensor:
    """Costs with every NaN and infinity made worse than any finite entry.

    The replacement is ``max + max(abs) + 1`` over the finite entries of an
    image, at most the largest number of the dtype, and that number if no
    entry is finite.

    Args:
        costs: Costs of each image, shape (..., num_preds, num_gts), not empty.

    Returns:
        Finite costs of the same shape.

    Source: rfdetr 1.11.2, models/matcher.py,
        HungarianMatcher._sanitize_cost_matrix.
    """
    is_finite = costs.isfinite()
    limit = torch.finfo(costs.dtype).max
    highest = costs.where(is_finite, -torch.inf).amax(
        dim=(-2, -1), keepdim=True
    )
    largest = (
        costs.where(is_finite, 0.0).abs().amax(dim=(-2, -1), keepdim=True)
    )
    worst = (highest + largest + 1).clamp(max=limit)
    worst = worst.where(highest.isfinite(), limit)
    return costs.where(is_finite, worst)


def _lift_instances(instances: InstanceData) -> InstanceData:
    lifted = instances.new()
    for name, value in instances.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            value = lift_half_precision(value)
        lifted[name] = value
    return lifted


def _check_num_groups(num_groups: int) -> int:
    is_int = isinstance(num_groups, int) and not isinstance(num_groups, bool)
    if not is_int or num_groups < 1:
        raise InputError(
            f'num_groups must be an integer of at least 1, got {num_groups!r}.'
        )
    return num_groups
