"""Match costs that mmdet does not have."""

import torch.nn.functional as F
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor


@TASK_UTILS.register_module()
class FocalLogitCost(BaseMatchCost):
    """Focal classification cost computed from logits.

    The cost of giving class c to a prediction is the focal loss of c as a
    positive minus that of c as a negative. mmdet's ``FocalLossCost`` is the
    same up to its ``log(p + eps)``; here the logarithm is a log-sigmoid, so
    it stays exact for confident logits. Only the columns of classes that
    occur in the image are evaluated.

    Args:
        alpha: Weight of the positive term; the negative gets ``1 - alpha``.
        gamma: Focusing exponent.
        weight: Factor on the cost.

    Source: rfdetr 1.11.2, models/matcher.py,
        HungarianMatcher._focal_classification_cost.
    """

    def __init__(
        self, alpha: float = 0.25, gamma: float = 2.0, weight: float = 1.0
    ) -> None:
        super().__init__(weight=weight)
        self.alpha = alpha
        self.gamma = gamma

    def __call__(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        img_meta: dict | None = None,
        **kwargs,
    ) -> Tensor:
        """Cost of every prediction with every ground truth.

        Args:
            pred_instances: Holds ``scores``, class logits of shape
                (num_preds, num_classes).
            gt_instances: Holds ``labels``, 0-based, shape (num_gts,).
            img_meta: Not used.
            **kwargs: Not used.

        Returns:
            Shape (num_preds, num_gts).
        """
        return self.of_logits(pred_instances.scores[:, gt_instances.labels])

    def of_logits(self, logits: Tensor) -> Tensor:
        """Cost of every logit of a ground truth's class, of any shape."""
        prob = logits.sigmoid()
        positive = (
            self.alpha * (1 - prob) ** self.gamma * -F.logsigmoid(logits)
        )
        negative = (1 - self.alpha) * prob**self.gamma * -F.logsigmoid(-logits)
        return (positive - negative) * self.weight
