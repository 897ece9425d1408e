"""Costs of a batch at once against mmdet's, image by image."""

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData

from rfdetr_mm.models.layers.image_size import image_sizes_px
from rfdetr_mm.models.task_modules import GroupHungarianAssigner
from rfdetr_mm.models.task_modules.batch_costs import batch_cost, can_batch
from rfdetr_mm.models.task_modules.batch_objects import BatchObjects

COSTS = {
    'l1': dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
    'focal': dict(type='FocalLogitCost', weight=2.0),
    'giou': dict(type='IoUCost', iou_mode='giou', weight=2.0),
    'iou': dict(type='IoUCost', iou_mode='iou'),
}
ALL = ['l1', 'focal', 'giou']
SHAPES = [(48, 80), (64, 64), (32, 96)]
METAS = [dict(img_shape=shape) for shape in SHAPES]
LAYERS, GROUPS, QUERIES = 2, 4, 20


def build(*names):
    return [TASK_UTILS.build(COSTS[name]) for name in names]


def outputs(dtype=torch.float32):
    """Logits and normalised boxes of all layers."""
    generator = torch.Generator().manual_seed(0)
    shape = (LAYERS, len(SHAPES), QUERIES)
    scores = 4 * torch.randn(*shape, 5, generator=generator)
    boxes = torch.rand(*shape, 4, generator=generator)
    return scores.to(dtype), boxes.to(dtype)


def objects_of(num_objects):
    generator = torch.Generator().manual_seed(1)
    instances = []
    for shape, num in zip(SHAPES, num_objects):
        size = torch.tensor(shape[::-1])
        corners = torch.rand(num, 2, 2, generator=generator) * size
        instances.append(
            InstanceData(
                bboxes=torch.cat([corners.amin(1), corners.amax(1) + 1], 1),
                labels=torch.randint(5, (num,), generator=generator),
            )
        )
    return BatchObjects.of(instances, METAS)


def at_once(match_costs, scores, boxes, objects):
    labels, gt_bboxes = objects.filled_up()
    sizes_px = image_sizes_px(gt_bboxes, METAS)
    return batch_cost(match_costs, scores, boxes, labels, gt_bboxes, sizes_px)


def predictions(scores, boxes, layer, image):
    height, width = SHAPES[image]
    size_px = torch.tensor([width, height, width, height])
    return InstanceData(
        scores=scores[layer, image],
        bboxes=bbox_cxcywh_to_xyxy(boxes[layer, image]) * size_px,
    )


@pytest.mark.parametrize('names', [*([name] for name in COSTS), ALL])
@pytest.mark.parametrize('num_objects', [(3, 3, 3), (4, 1, 2), (2, 0, 5)])
def test_equals_one_by_one(names, num_objects):
    match_costs = build(*names)
    assert can_batch(match_costs)
    scores, boxes = outputs()
    objects = objects_of(num_objects)
    found = at_once(match_costs, scores, boxes, objects)
    assert found.shape == (LAYERS, 3, QUERIES, max(num_objects))
    for layer in range(LAYERS):
        for image, gts in enumerate(objects.instances):
            expected = sum(
                one(
                    pred_instances=predictions(scores, boxes, layer, image),
                    gt_instances=gts,
                    img_meta=METAS[image],
                )
                for one in match_costs
            )
            columns = found[layer, image, :, : len(gts)]
            torch.testing.assert_close(columns, expected)


@pytest.mark.parametrize(
    'num_objects', [(3, 3, 3), (4, 1, 2), (2, 0, 5), (0, 0, 0), (7, 1, 0)]
)
@pytest.mark.parametrize('broken', [False, True])
def test_matches_are_those_of_single_images(num_objects, broken):
    """Some images have more objects (7) than a group has queries (5)."""
    assigner = GroupHungarianAssigner([COSTS[name] for name in ALL])
    scores, boxes = outputs()
    if broken:
        scores[0, 0, 3], boxes[1, 2, 4, 0] = float('nan'), float('inf')
    objects = objects_of(num_objects)
    found = assigner.match_at_once(scores, boxes, objects, METAS, GROUPS)
    expected = assigner.match_layers(
        (
            [
                (predictions(scores, boxes, layer, image), gts)
                for image, gts in enumerate(objects.instances)
            ]
            for layer in range(LAYERS)
        ),
        METAS,
        GROUPS,
    )
    assert torch.equal(found.queries, expected.queries)
    assert torch.equal(found.objects, expected.objects)
    assert found.counts == expected.counts


def test_crowded_batches_are_matched_one_by_one():
    assigner = GroupHungarianAssigner([COSTS[name] for name in ALL])
    rows = 3 * 16 * 3900  # Nano's layers, a batch of 16
    assert assigner.matches_at_once(rows, 100)
    assert not assigner.matches_at_once(rows, 300)
    assigner.match_costs.append(TASK_UTILS.build(dict(type='DiceCost')))
    assert not assigner.matches_at_once(rows, 1)


def test_half_precision_is_lifted_and_autocast_kept_out():
    scores, boxes = outputs(torch.bfloat16)
    objects = objects_of((2, 3, 1))
    match_costs = build(*ALL)
    expected = at_once(match_costs, scores.float(), boxes.float(), objects)
    found = at_once(match_costs, scores, boxes, objects)
    assert found.dtype is torch.float32
    assert torch.equal(found, expected)


def test_other_costs_are_not_taken():
    """Subclasses neither: they may compute something else."""

    class Doubled(type(build('l1')[0])):
        pass

    assert not can_batch([TASK_UTILS.build(dict(type='DiceCost'))])
    of_corners = TASK_UTILS.build(dict(type='BBoxL1Cost', box_format='xyxy'))
    assert not can_batch([*build('focal'), of_corners])
    assert not can_batch([*build('l1'), Doubled(box_format='xywh')])
