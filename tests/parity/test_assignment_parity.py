"""Cost matrix and assignment against rfdetr's HungarianMatcher."""

import os

import pytest
import torch
from mmengine.structures import InstanceData

os.environ.setdefault('HF_HUB_OFFLINE', '1')
pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from rfdetr.config import RFDETRNanoConfig, TrainConfig
from rfdetr.models import build_criterion_from_config

from rfdetr_mm.models.task_modules import GroupHungarianAssigner

pytestmark = pytest.mark.parity

NUM_GROUPS, GROUP_SIZE, NUM_CLASSES = 13, 7, 11
IMG_H, IMG_W = 48, 80
MATCH_COSTS = [
    dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
    dict(type='FocalLogitCost', weight=2.0),
    dict(type='IoUCost', iou_mode='giou', weight=2.0),
]


@pytest.fixture(scope='module')
def matcher():
    config = RFDETRNanoConfig(pretrain_weights=None, device='cpu')
    criterion, _ = build_criterion_from_config(
        config, TrainConfig(dataset_dir='.')
    )
    return criterion.matcher


def random_boxes(num, generator):
    """Normalised cxcywh."""
    centres = torch.rand(num, 2, generator=generator) * 0.6 + 0.2
    sizes = torch.rand(num, 2, generator=generator) * 0.35 + 0.03
    return torch.cat([centres, sizes], dim=1)


def random_batch(nums_gts, num_groups=NUM_GROUPS, logit_scale=2.0, seed=0):
    """Outputs and targets as rfdetr takes them, normalised cxcywh."""
    generator = torch.Generator().manual_seed(seed)
    num_preds = num_groups * GROUP_SIZE
    bs = len(nums_gts)
    outputs = dict(
        pred_logits=torch.randn(
            bs, num_preds, NUM_CLASSES, generator=generator
        )
        * logit_scale,
        pred_boxes=random_boxes(bs * num_preds, generator).view(bs, -1, 4),
    )
    targets = [
        dict(
            labels=torch.randint(NUM_CLASSES, (num,), generator=generator),
            boxes=random_boxes(num, generator),
        )
        for num in nums_gts
    ]
    return outputs, targets


def to_xyxy_px(boxes_cxcywh_norm):
    centres, sizes = boxes_cxcywh_norm.split(2, dim=-1)
    corners = [centres - sizes / 2, centres + sizes / 2]
    wh_px = torch.tensor([IMG_W, IMG_H] * 2, dtype=torch.float32)
    return torch.cat(corners, dim=-1) * wh_px


def instances(outputs, targets, image):
    """One image as mmdet's assigners take it."""
    preds = InstanceData(
        scores=outputs['pred_logits'][image],
        bboxes=to_xyxy_px(outputs['pred_boxes'][image]),
    )
    gts = InstanceData(
        labels=targets[image]['labels'],
        bboxes=to_xyxy_px(targets[image]['boxes']),
    )
    return preds, gts, dict(img_shape=(IMG_H, IMG_W))


def upstream_pairs(matcher, outputs, targets, num_groups):
    """Set of (row, 0-based ground truth) of every image."""
    result = matcher(outputs, targets, group_detr=num_groups)
    return [set(zip(i.tolist(), j.tolist())) for i, j in result]


def our_pairs(outputs, targets, num_groups, match_costs=MATCH_COSTS):
    assigner = GroupHungarianAssigner(match_costs, num_groups=num_groups)
    pairs = []
    for image in range(len(targets)):
        result = assigner.assign(*instances(outputs, targets, image))
        rows = result.gt_inds.nonzero().squeeze(1)
        cols = result.gt_inds[rows] - 1
        assert torch.equal(result.labels[rows], targets[image]['labels'][cols])
        pairs.append(set(zip(rows.tolist(), cols.tolist())))
    return pairs


# an empty image, more ground truths (12) than queries of a group (7)
BATCHES = [[3, 0, 12, 1], [5], [9], [0, 0], [7, 7]]


@pytest.mark.parametrize('nums_gts', BATCHES, ids=str)
@pytest.mark.parametrize('num_groups', [1, NUM_GROUPS])
@pytest.mark.parametrize('logit_scale', [2.0, 30.0])
def test_pairs(matcher, nums_gts, num_groups, logit_scale):
    outputs, targets = random_batch(nums_gts, num_groups, logit_scale)
    expected = upstream_pairs(matcher, outputs, targets, num_groups)
    found = our_pairs(outputs, targets, num_groups)
    assert found == expected
    for pairs, num_gts in zip(found, nums_gts):
        assert len(pairs) == num_groups * min(num_gts, GROUP_SIZE)


def upstream_costs(matcher, outputs, targets, monkeypatch):
    """Cost matrices of all images, taken where rfdetr solves them."""
    captured = []
    solve = matcher._assign_compact_cost_matrix

    def capture(cost, sizes, group_detr):
        captured.append(cost.split(sizes, dim=1))
        return solve(cost, sizes, group_detr)

    monkeypatch.setattr(matcher, '_assign_compact_cost_matrix', capture)
    matcher(outputs, targets, group_detr=NUM_GROUPS)
    return captured[0]


def our_costs(outputs, targets, match_costs=MATCH_COSTS):
    assigner = GroupHungarianAssigner(match_costs)
    return [
        assigner._cost_matrix(*instances(outputs, targets, image))
        for image in range(len(targets))
    ]


@pytest.mark.parametrize('logit_scale', [2.0, 30.0])
def test_costs(matcher, monkeypatch, logit_scale):
    outputs, targets = random_batch([3, 12, 1], logit_scale=logit_scale)
    torch.testing.assert_close(
        our_costs(outputs, targets),
        list(upstream_costs(matcher, outputs, targets, monkeypatch)),
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_pairs_with_broken_predictions(matcher, bad):
    outputs, targets = random_batch([5])
    outputs['pred_logits'][0, 3] = bad
    outputs['pred_boxes'][0, 20, 1] = bad
    outputs['pred_boxes'][0, 30:33] = bad
    expected = upstream_pairs(matcher, outputs, targets, NUM_GROUPS)
    assert our_pairs(outputs, targets, NUM_GROUPS) == expected


def replaced(index, **settings):
    costs = [dict(cost) for cost in MATCH_COSTS]
    costs[index].update(settings)
    return costs


@pytest.mark.parametrize(
    'match_costs',
    [
        replaced(0, box_format='xyxy'),
        replaced(1, weight=1.0),
        replaced(1, alpha=0.5),
        replaced(2, iou_mode='iou'),
    ],
    ids=['L1 on corners', 'class weight', 'alpha', 'IoU'],
)
def test_negative_control(matcher, monkeypatch, match_costs):
    outputs, targets = random_batch([6, 12])
    expected = upstream_pairs(matcher, outputs, targets, NUM_GROUPS)
    assert our_pairs(outputs, targets, NUM_GROUPS, match_costs) != expected
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            our_costs(outputs, targets, match_costs),
            list(upstream_costs(matcher, outputs, targets, monkeypatch)),
            atol=1e-5,
            rtol=1e-5,
        )


def test_negative_control_groups(matcher):
    outputs, targets = random_batch([3])
    expected = upstream_pairs(matcher, outputs, targets, NUM_GROUPS)
    assert our_pairs(outputs, targets, 1) != expected


def test_negative_control_eps_of_mmdet(matcher, monkeypatch):
    """FocalLossCost's eps shows as soon as logits are confident."""
    outputs, targets = random_batch([6, 2], logit_scale=30.0)
    costs = replaced(1, type='FocalLossCost')
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            our_costs(outputs, targets, costs),
            list(upstream_costs(matcher, outputs, targets, monkeypatch)),
            atol=1e-5,
            rtol=1e-5,
        )
