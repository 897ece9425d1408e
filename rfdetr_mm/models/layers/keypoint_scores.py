"""Detections that know how sure their keypoints are."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .keypoint_schema import FINDABLE, L21, LOG_L11, LOG_L22

SMALLEST = 1e-12  # whose logarithm is taken


def fuse_scores(
    scores: Tensor, keypoints: Tensor, active: Tensor, alpha: float
) -> Tensor:
    """Lower the scores of objects with uncertain keypoints.

    The new score is the sigmoid of ``log(score) - alpha * T``. T is the
    logarithm of the mean trace of the keypoints' covariances, each weighted
    by its probability to be findable; 0 for a class without keypoints.

    Args:
        scores: Shape (n,).
        keypoints: Of the objects' classes, shape (n, num_keypoints, 8).
        active: Whether the class has the keypoint, shape (n, num_keypoints).
        alpha: How much uncertainty counts; 0 leaves the scores as they are.

    Returns:
        Shape (n,), below 1.

    Source: rfdetr 1.11.2, PostProcess._apply_keypoint_trace_fusion. There,
        classes after the last one of the file's schema keep their scores.
    """
    if alpha == 0:
        return scores
    log_l11, log_l22 = keypoints[..., LOG_L11], keypoints[..., LOG_L22]
    l21 = keypoints[..., L21].abs().clamp(min=SMALLEST)
    log_traces = torch.stack(
        [
            -2 * log_l11,
            -2 * log_l22,
            2 * l21.log() - 2 * log_l11 - 2 * log_l22,
        ],
        dim=-1,
    ).logsumexp(dim=-1)
    weights = keypoints[..., FINDABLE].sigmoid().clamp(min=SMALLEST).log()
    weights = weights.masked_fill(~active, -torch.inf)
    log_mean = (log_traces + weights).logsumexp(dim=-1)
    log_mean = log_mean - weights.logsumexp(dim=-1)
    log_mean = log_mean.where(active.any(dim=-1), 0.0)
    below_one = 1 - torch.finfo(scores.dtype).eps / 2
    return F.sigmoid(scores.log() - alpha * log_mean).clamp(max=below_one)
