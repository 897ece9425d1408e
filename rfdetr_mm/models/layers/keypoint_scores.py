"""Keypoints of detections, and how sure they are."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
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
        keypoints: Keypoints of the objects' classes, shape (n, num_keypoints,
            8).
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


def add_keypoints(
    detections: InstanceData,
    keypoints: Tensor,
    active: Tensor,
    size_px: Sequence[float],
    alpha: float,
) -> None:
    """Give detections the keypoints of their classes, in place.

    Args:
        detections: Detections of an image with ``scores``, which are
            changed, and ``labels``, shape (n,).
        keypoints: Keypoints of their queries, padded, shape (n, num_classes *
            largest number of keypoints, 8), x and y normalised.
        active: Whether a class has a keypoint, shape (num_classes, largest).
        size_px: (width, height) of the image.
        alpha: See :func:`fuse_scores`.

    They get ``keypoints`` (x, y) in pixels, shape (n, largest, 2),
    ``keypoint_scores``, shape (n, largest), both 0 where the class has no
    such keypoint, and ``keypoint_precision``, (log l11, l21, log l22) in
    units of the image's size, shape (n, largest, 3), NaN there.

    Source: rfdetr 1.11.2, PostProcess._decode_keypoints_for_image.
    """
    labels = detections.labels
    rows = torch.arange(len(labels), device=labels.device)
    own = keypoints.unflatten(1, tuple(active.shape))[rows, labels]
    is_there = active[labels]
    detections.scores = fuse_scores(detections.scores, own, is_there, alpha)
    places = own[..., :2] * own.new_tensor(size_px)
    detections.keypoints = places * is_there.unsqueeze(-1)
    detections.keypoint_scores = own[..., FINDABLE].sigmoid() * is_there
    detections.keypoint_precision = own[..., LOG_L11 : LOG_L22 + 1].where(
        is_there.unsqueeze(-1), torch.nan
    )
