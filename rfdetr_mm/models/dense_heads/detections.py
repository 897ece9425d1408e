"""From the last layer's outputs to the detections of an image."""

import torch
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from torch import Tensor

from ..layers.image_size import image_sizes_px


def best_detections(
    cls_scores: Tensor,
    bboxes_cxcywh_norm: Tensor,
    img_meta: dict,
    max_per_img: int,
    rescale: bool,
) -> tuple[InstanceData, Tensor]:
    """Take the best pairs of a query and a class, without any threshold.

    Pairs whose score or box is not finite come last, so that they are taken
    only where there are no others. They are not left out: that a model gives
    them is what evaluation and prediction must notice.

    Args:
        cls_scores: Logits, shape (num_queries, num_classes).
        bboxes_cxcywh_norm: Boxes, shape (num_queries, 4).
        img_meta: Meta data with ``img_shape`` and, to rescale,
            ``scale_factor``.
        max_per_img: How many to take at most.
        rescale: Give boxes in pixels of the original image instead of the
            network's input.

    Returns:
        ``scores``, ``labels`` and ``bboxes`` (x1, y1, x2, y2) within the
        image, best first; and the query of each, shape (num_detections,).

    Source: rfdetr 1.11.2, models/postprocess.py, PostProcess.
    """
    num_classes = cls_scores.shape[-1]
    scores = cls_scores.sigmoid()
    is_finite = scores.isfinite() & bboxes_cxcywh_norm.isfinite().all(
        dim=1, keepdim=True
    )
    # Stable, so that equal scores keep the order of queries and classes.
    order = (
        scores.where(is_finite, scores.new_tensor(-1.0))
        .flatten()
        .sort(descending=True, stable=True)
        .indices[:max_per_img]
    )
    queries = order // num_classes
    (size_px,) = image_sizes_px(bboxes_cxcywh_norm, [img_meta])
    bboxes = bbox_cxcywh_to_xyxy(bboxes_cxcywh_norm[queries])
    bboxes = torch.min((bboxes * size_px).clamp(min=0), size_px)
    if rescale:
        scale_w, scale_h = img_meta['scale_factor'][:2]
        bboxes = bboxes / bboxes.new_tensor([scale_w, scale_h] * 2)
    detections = InstanceData(
        bboxes=bboxes,
        scores=scores.flatten()[order],
        labels=order % num_classes,
    )
    return detections, queries
