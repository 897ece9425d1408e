"""RF-DETR's match costs for a whole batch of images at once."""

from collections.abc import Sequence

import torch
from mmdet.models.task_modules.assigners.match_cost import (
    BaseMatchCost,
    BBoxL1Cost,
    IoUCost,
)
from mmdet.structures.bbox import bbox_overlaps, bbox_xyxy_to_cxcywh
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .match_costs import FocalLogitCost

BATCHED = (BBoxL1Cost, FocalLogitCost, IoUCost)


def can_batch(match_costs: Sequence[BaseMatchCost]) -> bool:
    """Whether :func:`batch_cost` knows all of these costs."""
    return all(type(cost) in BATCHED for cost in match_costs)


@torch.no_grad()
def batch_cost(
    match_costs: Sequence[BaseMatchCost],
    pairs: Sequence[tuple[InstanceData, InstanceData]],
    img_metas: Sequence[dict],
) -> Tensor:
    """Sum of the costs of every image, the same as one by one.

    One by one, a step launches some forty small kernels for each image, and
    waits for the GPU several times.

    Args:
        match_costs: Of the types that :func:`can_batch` knows.
        pairs: Predictions and objects of every image, as the costs take
            them; equally many predictions in each.
        img_metas: With ``img_shape``.

    Returns:
        Shape (bs, num_preds, max_gts), at least float32; columns beyond an
        image's objects mean nothing.
    """
    preds, objects = zip(*pairs)
    logits, boxes, gt_boxes = map(
        _lift_half_precision,
        (
            torch.stack([x.scores for x in preds]),
            torch.stack([x.bboxes for x in preds]),
            pad_sequence([x.bboxes for x in objects], batch_first=True),
        ),
    )
    labels = pad_sequence([x.labels for x in objects], batch_first=True)
    sizes = [meta['img_shape'][:2] for meta in img_metas]
    sizes_px = torch.tensor([(w, h, w, h) for h, w in sizes]).unsqueeze(1)
    sizes_px = sizes_px.to(boxes.device, non_blocking=True)
    total = 0
    with torch.autocast(boxes.device.type, enabled=False):
        for cost in match_costs:
            if isinstance(cost, FocalLogitCost):
                columns = labels.unsqueeze(1).expand(-1, boxes.shape[1], -1)
                total = total + cost.of_logits(logits.gather(2, columns))
            elif isinstance(cost, IoUCost):
                overlaps = bbox_overlaps(boxes, gt_boxes, mode=cost.iou_mode)
                total = total - overlaps * cost.weight
            else:
                both = [boxes, gt_boxes]
                if cost.box_format == 'xywh':
                    both = [bbox_xyxy_to_cxcywh(x) for x in both]
                both = [x / sizes_px for x in both]
                total = total + torch.cdist(*both, p=1) * cost.weight
    return total


def _lift_half_precision(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
