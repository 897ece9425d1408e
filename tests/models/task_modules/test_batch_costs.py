"""Costs of a batch at once against mmdet's, image by image."""

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from rfdetr_mm.models.task_modules.batch_costs import batch_cost, can_batch

COSTS = {
    'l1': dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
    'l1 of corners': dict(type='BBoxL1Cost', weight=3.0),
    'focal': dict(type='FocalLogitCost', weight=2.0),
    'giou': dict(type='IoUCost', iou_mode='giou', weight=2.0),
    'iou': dict(type='IoUCost', iou_mode='iou'),
}
SHAPES = [(48, 80), (64, 64), (32, 96)]


def build(*names):
    return [TASK_UTILS.build(COSTS[name]) for name in names]


def boxes(num, shape, generator):
    size = torch.tensor(shape[::-1])
    corners = torch.rand(num, 2, 2, generator=generator) * size
    return torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1)


def batch(num_objects, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for shape, num in zip(SHAPES, num_objects):
        preds = InstanceData(
            scores=(4 * torch.randn(20, 5, generator=generator)).to(dtype),
            bboxes=boxes(20, shape, generator).to(dtype),
        )
        labels = torch.randint(5, (num,), generator=generator)
        objects = InstanceData(
            labels=labels, bboxes=boxes(num, shape, generator)
        )
        pairs.append((preds, objects))
    return pairs, [dict(img_shape=shape) for shape in SHAPES]


@pytest.mark.parametrize(
    'names', [*([name] for name in COSTS), ['l1', 'focal', 'giou']]
)
@pytest.mark.parametrize('num_objects', [(3, 3, 3), (4, 1, 2), (2, 0, 5)])
def test_equals_one_by_one(names, num_objects):
    match_costs = build(*names)
    assert can_batch(match_costs)
    pairs, metas = batch(num_objects)
    found = batch_cost(match_costs, pairs, metas)
    assert found.shape == (3, 20, max(num_objects))
    for cost, (preds, objects), meta in zip(found, pairs, metas):
        expected = sum(
            match_cost(
                pred_instances=preds, gt_instances=objects, img_meta=meta
            )
            for match_cost in match_costs
        )
        torch.testing.assert_close(cost[:, : len(objects)], expected)


def test_half_precision_is_lifted_and_autocast_kept_out():
    pairs, metas = batch((2, 3, 1), torch.bfloat16)
    lifted = [
        (InstanceData(scores=p.scores.float(), bboxes=p.bboxes.float()), gts)
        for p, gts in pairs
    ]
    match_costs = build('l1', 'focal', 'giou')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = batch_cost(match_costs, pairs, metas)
    assert found.dtype is torch.float32
    assert torch.equal(found, batch_cost(match_costs, lifted, metas))


def test_other_costs_are_not_taken():
    """Subclasses neither: they may compute something else."""

    class Doubled(type(build('l1')[0])):
        pass

    assert not can_batch([TASK_UTILS.build(dict(type='DiceCost'))])
    assert not can_batch([*build('l1'), Doubled()])
