"""Losses of keypoints that are matched with those of an object."""

from collections.abc import Callable

from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.registry import MODELS
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

from ..layers.keypoint_terms import (
    findable_term,
    l1_term,
    nll_term,
    visible_term,
)

REDUCTIONS = ('none', 'mean', 'sum')


class KeypointLoss(nn.Module):
    """One term of matched objects, weighted and reduced.

    Args:
        reduction: 'none', 'mean' or 'sum', over objects.
        loss_weight: Factor on the result.

    Raises:
        InputError: If ``reduction`` is unknown.

    Source: rfdetr 1.11.2, models/heads/keypoints.py,
        compute_l1_keypoint_loss.
    """

    term: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

    def __init__(
        self, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.reduction = _checked(reduction)
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        areas: Tensor,
        active: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Weighted and reduced loss.

        Args:
            pred: Keypoints of the object's class, shape (N, num_keypoints,
                8), see :mod:`~..layers.keypoint_schema`. N may be 0.
            target: Normalised x and y, and COCO's visibility, shape (N,
                num_keypoints, 3).
            areas: Areas of the objects' boxes, normalised, shape (N,).
            active: Whether the class has the keypoint, shape (N,
                num_keypoints).
            weight: Weight of every object, shape (N,).
            avg_factor: Divisor of the sum with ``reduction='mean'``.
            reduction_override: Replaces the reduction of the constructor.

        Returns:
            A scalar, or shape (N,) with ``reduction='none'``; always
            connected to ``pred``, and finite.

        Raises:
            InputError: If the reduction is unknown.
        """
        reduction = _checked(reduction_override or self.reduction)
        loss = type(self).term(pred, target, areas, active)
        if len(pred) == 0 and reduction == 'mean':
            return self.loss_weight * loss.sum()  # a mean would be NaN
        return self.loss_weight * weight_reduce_loss(
            loss, weight, reduction, avg_factor
        )


def _checked(reduction: str) -> str:
    if reduction not in REDUCTIONS:
        raise InputError(
            f'The reduction must be one of {REDUCTIONS}, got {reduction!r}.'
        )
    return reduction


@MODELS.register_module()
class KeypointL1Loss(KeypointLoss):
    """:func:`~..layers.keypoint_terms.l1_term` as a loss."""

    term = staticmethod(l1_term)


@MODELS.register_module()
class KeypointFindableLoss(KeypointLoss):
    """:func:`~..layers.keypoint_terms.findable_term` as a loss."""

    term = staticmethod(findable_term)


@MODELS.register_module()
class KeypointVisibleLoss(KeypointLoss):
    """:func:`~..layers.keypoint_terms.visible_term` as a loss."""

    term = staticmethod(visible_term)


@MODELS.register_module()
class KeypointNLLLoss(KeypointLoss):
    """:func:`~..layers.keypoint_terms.nll_term` as a loss."""

    term = staticmethod(nll_term)
