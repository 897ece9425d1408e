"""One-to-one matching inside each of several groups of queries."""

import torch
from mmdet.models.task_modules.assigners import AssignResult, HungarianAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@TASK_UTILS.register_module()
class GroupHungarianAssigner(HungarianAssigner):
    """Hungarian assigner that matches every group of queries on its own.

    The predictions are cut into ``num_groups`` equal chunks of rows (group 0
    first) and each chunk is matched one-to-one with all ground truths, so a
    ground truth is matched once per group. With one group this is mmdet's
    ``HungarianAssigner``.

    The costs of all groups are computed together, in float32, and go to the
    CPU in one copy. Memory: the cost matrix takes ``4 * num_preds *
    num_gts`` bytes; while mmdet's ``IoUCost`` runs, the peak is about 20
    matrices of that size. RF-DETR's 3900 training queries with 300 ground
    truths: 4.7 MB and 90 MB. One image is matched at a time, so the batch
    size does not matter.

    Differs from upstream: non-finite costs are replaced per image, where
    upstream takes the largest finite cost of the whole batch.

    Args:
        match_costs: Configs of the costs, summed in the given order.
        num_groups: Number of groups, unless :meth:`assign` is told another.

    Raises:
        TypeError: If ``match_costs`` is neither a dict nor a list of dicts.
        ValueError: If there are no costs or ``num_groups`` is not a positive
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
                'match_costs has to be a config dict or a list of them, got '
                f'{type(match_costs).__name__}.'
            )
        if not all(costs) or not costs:
            raise ValueError(
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
        **kwargs,
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
            ValueError: If the predictions do not divide into the groups.
        """
        if num_groups is None:
            num_groups = self.num_groups
        num_groups = _check_num_groups(num_groups)
        num_preds, num_gts = len(pred_instances), len(gt_instances)
        if num_preds % num_groups:
            raise ValueError(
                'All groups need the same number of predictions: '
                f'{num_preds} predictions / {num_groups} groups leaves '
                f'{num_preds % num_groups}. Pass assign(num_groups=...) the '
                'number of groups that the head ran.'
            )
        gt_labels = gt_instances.labels
        gt_inds = torch.zeros(num_preds, dtype=torch.long)
        if num_preds and num_gts:
            cost = self._cost_matrix(pred_instances, gt_instances, img_meta)
            group_size = num_preds // num_groups
            for group, group_cost in enumerate(cost.split(group_size)):
                rows, cols = linear_sum_assignment(group_cost.numpy())
                rows = torch.from_numpy(rows) + group * group_size
                gt_inds[rows] = torch.from_numpy(cols) + 1
        gt_inds = gt_inds.to(gt_labels.device)
        labels = torch.full_like(gt_inds, -1)
        matched = gt_inds > 0
        labels[matched] = gt_labels[gt_inds[matched] - 1]
        return AssignResult(
            num_gts=num_gts, gt_inds=gt_inds, max_overlaps=None, labels=labels
        )

    @torch.no_grad()
    def _cost_matrix(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        img_meta: dict | None,
    ) -> Tensor:
        """Weighted sum of all costs, finite, on the CPU.

        Returns:
            Shape (num_preds, num_gts).
        """
        pred_instances = _lift_half_precision(pred_instances)
        gt_instances = _lift_half_precision(gt_instances)
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
        return replace_non_finite(cost.cpu())


def replace_non_finite(cost: Tensor) -> Tensor:
    """Costs with every NaN and infinity made worse than any finite entry.

    The replacement is ``max + max(abs) + 1`` over the finite entries, at
    most the largest number of the dtype, and that number if no entry is
    finite.

    Args:
        cost: Costs of any shape.

    Returns:
        Finite costs of the same shape; ``cost`` itself if nothing is wrong.

    Source: rfdetr 1.11.2, models/matcher.py,
        HungarianMatcher._sanitize_cost_matrix.
    """
    is_finite = cost.isfinite()
    if is_finite.all():
        return cost
    largest = torch.finfo(cost.dtype).max
    finite = cost[is_finite]
    replacement = largest
    if len(finite):
        replacement = min(
            (finite.max() + finite.abs().max() + 1).item(), largest
        )
    return cost.masked_fill(~is_finite, replacement)


def _lift_half_precision(instances: InstanceData) -> InstanceData:
    lifted = instances.new()
    for name, value in instances.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            value = value.to(torch.promote_types(value.dtype, torch.float32))
        lifted[name] = value
    return lifted


def _check_num_groups(num_groups: int) -> int:
    is_int = isinstance(num_groups, int) and not isinstance(num_groups, bool)
    if not is_int or num_groups < 1:
        raise ValueError(
            f'num_groups has to be an integer of at least 1, got '
            f'{num_groups!r}.'
        )
    return num_groups
