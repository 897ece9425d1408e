"""How far the matched queries are from the objects, for the log."""

from collections.abc import Sequence

import torch
from torch import Tensor


def match_errors(
    cls_scores: Tensor,
    matched: Tensor,
    labels: Tensor,
    num_objects: Sequence[int],
) -> dict[str, Tensor]:
    """Two values that are logged, never minimised.

    Args:
        cls_scores: Logits, shape (bs, num_queries, num_classes).
        matched: Matched rows among the bs * num_queries, shape
            (num_matched,).
        labels: Class of each matched row, same shape.
        num_objects: The number of objects of each image.

    Returns:
        ``class_error``: percent of matched queries whose best class is
        wrong; ``cardinality_error``: mean over images of the
        difference between the numbers of queries above 0.5 and of objects.

    Source: rfdetr 1.11.2, SetCriterion.loss_labels, loss_cardinality.
    """
    best = cls_scores.flatten(0, 1)[matched].argmax(dim=-1)
    correct = (best == labels).float()
    counts = torch.tensor(num_objects, dtype=cls_scores.dtype)
    counts = counts.to(cls_scores.device, non_blocking=True)
    confident = (cls_scores.sigmoid().amax(dim=-1) > 0.5).sum(dim=1)
    return dict(
        class_error=100 * (1 - correct.sum() / max(len(correct), 1)),
        cardinality_error=(confident - counts).abs().mean(),
    )
