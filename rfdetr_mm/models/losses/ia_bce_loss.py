"""IoU-aware binary cross-entropy, the classification loss of RF-DETR."""

import torch
import torch.nn.functional as F
from mmdet.models.losses import QualityFocalLoss
from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.registry import MODELS
from torch import Tensor
from torch.autograd.function import FunctionCtx

from rfdetr_mm.errors import InputError

REDUCTIONS = ('none', 'mean', 'sum')


def iou_aware_bce(
    logits: Tensor,
    labels: Tensor,
    ious: Tensor,
    alpha: float = 0.25,
    min_target: float = 0.01,
) -> Tensor:
    """IoU-aware binary cross-entropy of every prediction.

    With p = sigmoid(logit) and u = IoU, the matched class of a matched
    prediction is pulled towards the soft target ``t = max(p**alpha *
    u**(1 - alpha), min_target)``; every other entry is a negative of weight
    p**2::

        matched: -t * log(p) - (1 - t) * log(1 - p)      t is a constant
        other:   -p**2 * log(1 - p)                      p**2 has a gradient

    Args:
        logits: Class logits, shape (N, num_classes).
        labels: Matched class, shape (N,), 0-based; anything outside
            ``[0, num_classes)`` (mmdet: ``num_classes``) is background.
        ious: IoU of the predicted with the matched box, in [0, 1], shape
            (N,). Values at background rows are ignored.
        alpha: Exponent of p in the target; u gets ``1 - alpha``.
        min_target: Lower bound of the target.

    Returns:
        Loss summed over the classes, shape (N,).

    Source: rfdetr 1.11.2, models/criterion.py, SetCriterion.loss_labels;
        Align-DETR, https://arxiv.org/abs/2304.07527 (the soft target).
    """
    loss = _LossOfNegatives.apply(logits)
    is_matched = (labels >= 0) & (labels < logits.size(1))
    # Background takes part with class 0 and leaves it as it is: to look for
    # the matched rows alone, a GPU would be waited for.
    classes = labels.long().where(is_matched, 0).unsqueeze(1)
    own_logits = logits.gather(1, classes).squeeze(1)
    with torch.no_grad():
        quality = ious.to(logits.dtype).where(is_matched, 1.0)
        target = own_logits.sigmoid().pow(alpha) * quality.pow(1 - alpha)
        target = target.clamp(min=min_target)
    own_loss = F.binary_cross_entropy_with_logits(
        own_logits, target, reduction='none'
    ).where(is_matched, _LossOfNegatives.apply(own_logits))
    return loss.scatter_(1, classes, own_loss.unsqueeze(1)).sum(dim=1)


class _LossOfNegatives(torch.autograd.Function):
    """-p**2 * log(1 - p) of every entry, for p = sigmoid(logit).

    Its gradient is ``p**3 - 2 * p**2 * (1 - p) * log(1 - p)``; only the
    logits are kept for it.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        return F.softplus(logits).mul_(logits.sigmoid().square_())

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        (logits,) = ctx.saved_tensors
        probs = logits.sigmoid()
        out = F.softplus(logits).mul_(2).mul_(1 - probs).add_(probs)
        return out.mul_(probs.square_()).mul_(grad)


@MODELS.register_module()
class IABCELoss(QualityFocalLoss):
    """IoU-aware binary cross-entropy loss (IA-BCE).

    A :class:`QualityFocalLoss` in mmdet's sense: the DETR heads of mmdet
    compute IoUs only for that type, so this loss works in any of them.
    The formula is that of :func:`iou_aware_bce`.

    Differs from upstream: half-precision logits are lifted to float32, where
    upstream computes in the dtype that autocast gave the logits.

    Args:
        alpha: Exponent of the predicted probability in the soft target; the
            IoU gets ``1 - alpha``. 0.25 as in the released models.
        min_target: Lower bound of the soft target, so that a matched query
            is never a pure negative.
        reduction: 'none', 'mean' or 'sum', over predictions (each already
            summed over the classes).
        loss_weight: Factor on the result.

    Raises:
        InputError: If ``alpha`` or ``min_target`` lies outside [0, 1] or
            ``reduction`` is unknown.

    Source: rfdetr 1.11.2, models/criterion.py, SetCriterion.loss_labels.
    """

    def __init__(
        self,
        alpha: float = 0.25,
        min_target: float = 0.01,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        for name, value in (('alpha', alpha), ('min_target', min_target)):
            if not 0 <= value <= 1:
                raise InputError(
                    f'IABCELoss needs 0 <= {name} <= 1, got {value}.'
                )
        _check_reduction(reduction)
        # beta: power of p in the weight of the negatives
        super().__init__(
            use_sigmoid=True,
            beta=2.0,
            reduction=reduction,
            loss_weight=loss_weight,
        )
        self.alpha = alpha
        self.min_target = min_target

    def forward(
        self,
        pred: Tensor,
        target: tuple[Tensor, Tensor],
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Weighted and reduced loss.

        Args:
            pred: Class logits, shape (N, num_classes). N may be 0.
            target: ``(labels, ious)``, each of shape (N,), as described in
                :func:`iou_aware_bce`; background is ``num_classes``.
            weight: Weight of every prediction, shape (N,).
            avg_factor: Divisor of the sum with ``reduction='mean'``. RF-DETR
                uses the number of ground truths times the number of groups.
            reduction_override: Replaces the reduction of the constructor.

        Returns:
            A scalar, or shape (N,) with ``reduction='none'``; always
            connected to ``pred``, and finite for N = 0.

        Raises:
            TypeError: If ``target`` is not a pair of tensors.
            InputError: If a shape or the reduction does not fit.
        """
        reduction = reduction_override or self.reduction
        _check_reduction(reduction)
        labels, ious = _check_inputs(pred, target, weight)
        dtype = torch.promote_types(pred.dtype, torch.float32)
        loss = iou_aware_bce(
            pred.to(dtype), labels, ious, self.alpha, self.min_target
        )
        if len(pred) == 0 and reduction == 'mean':
            return self.loss_weight * loss.sum()  # a mean would be NaN
        return self.loss_weight * weight_reduce_loss(
            loss, weight, reduction, avg_factor
        )


def _check_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise InputError(
            f'The reduction must be one of {REDUCTIONS}, got {reduction!r}.'
        )


def _check_inputs(
    pred: Tensor, target: tuple[Tensor, Tensor], weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    is_pair = isinstance(target, (tuple, list)) and len(target) == 2
    if not is_pair or not all(isinstance(t, Tensor) for t in target):
        raise TypeError(
            'IABCELoss takes target=(labels, ious), two tensors of shape '
            f'(N,), got {type(target).__name__}. One-hot targets have no IoU '
            'to be aware of; use QualityFocalLoss for those.'
        )
    expected = (len(pred),)
    shapes = dict(labels=target[0].shape, ious=target[1].shape)
    if weight is not None:
        shapes['weight'] = weight.shape
    for name, shape in shapes.items():
        if tuple(shape) != expected:
            raise InputError(
                f'IABCELoss needs one entry of {name} per prediction: '
                f'pred is {tuple(pred.shape)}, so {name} must be '
                f'{expected}, got {tuple(shape)}.'
            )
    return target[0], target[1]
