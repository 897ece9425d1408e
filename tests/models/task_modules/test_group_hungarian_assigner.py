"""GroupHungarianAssigner: mmdet's assigner per group, brute force, errors."""

from itertools import accumulate, permutations

import pytest
import torch
from mmdet.models.task_modules.assigners import HungarianAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh
from mmengine.structures import InstanceData

from rfdetr_mm.models.task_modules import GroupHungarianAssigner
from rfdetr_mm.models.task_modules.group_hungarian_assigner import (
    replace_non_finite,
)

MATCH_COSTS = [
    dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
    dict(type='FocalLogitCost', weight=2.0),
    dict(type='IoUCost', iou_mode='giou', weight=2.0),
]
IMG_META = dict(img_shape=(48, 80))


class TableCost:
    """A cost that returns a fixed table and counts its calls."""

    def __init__(self, table):
        self.table = table
        self.num_calls = 0

    def __call__(self, pred_instances, gt_instances, img_meta=None):
        self.num_calls += 1
        return self.table


def random_boxes(num, generator):
    """Boxes in pixels, xyxy, inside an image of 48 x 80 (H x W)."""
    size = torch.tensor([80.0, 48.0])
    corners = torch.rand(num, 2, 2, generator=generator) * size
    return torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1)


def random_instances(num_preds, num_gts, seed=0, num_classes=5):
    generator = torch.Generator().manual_seed(seed)
    preds = InstanceData(
        scores=torch.randn(num_preds, num_classes, generator=generator),
        bboxes=random_boxes(num_preds, generator),
    )
    gts = InstanceData(
        labels=torch.randint(num_classes, (num_gts,), generator=generator),
        bboxes=random_boxes(num_gts, generator),
    )
    return preds, gts


def table_instances(num_preds, num_gts):
    preds = InstanceData(scores=torch.zeros(num_preds, 1))
    gts = InstanceData(labels=torch.arange(num_gts))
    return preds, gts


def with_table(table, num_groups=1):
    assigner = GroupHungarianAssigner(MATCH_COSTS, num_groups=num_groups)
    assigner.match_costs = [TableCost(table)]
    return assigner


def assert_same(result, expected):
    assert torch.equal(result.gt_inds, expected.gt_inds)
    assert torch.equal(result.labels, expected.labels)
    assert result.num_gts == expected.num_gts


@pytest.mark.parametrize(
    ('num_preds', 'num_gts'), [(12, 5), (3, 7), (4, 4), (6, 0), (0, 3), (0, 0)]
)
@pytest.mark.parametrize('seed', range(5))
def test_one_group_equals_mmdet(num_preds, num_gts, seed):
    preds, gts = random_instances(num_preds, num_gts, seed)
    ours = GroupHungarianAssigner(MATCH_COSTS)
    theirs = HungarianAssigner(MATCH_COSTS)
    result = ours.assign(preds, gts, IMG_META)
    if num_preds:
        assert_same(result, theirs.assign(preds, gts, IMG_META))
    assert result.gt_inds.shape == result.labels.shape == (num_preds,)


@pytest.mark.parametrize('seed', range(20))
def test_one_group_equals_mmdet_on_random_costs(seed):
    """Integer costs, so that ties occur as well."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 9, (2,), generator=generator).tolist()
    table = torch.randint(0, 6, sizes, generator=generator).float() - 2
    preds, gts = table_instances(*sizes)
    theirs = HungarianAssigner(MATCH_COSTS)
    theirs.match_costs = [TableCost(table)]
    assert_same(
        with_table(table).assign(preds, gts), theirs.assign(preds, gts)
    )


@pytest.mark.parametrize(
    ('group_size', 'num_gts'), [(6, 4), (4, 4), (2, 5), (5, 1), (3, 0)]
)
def test_every_group_is_matched_on_its_own(group_size, num_gts):
    num_groups = 13
    preds, gts = random_instances(num_groups * group_size, num_gts)
    assigner = GroupHungarianAssigner(MATCH_COSTS, num_groups=num_groups)
    result = assigner.assign(preds, gts, IMG_META)
    single = HungarianAssigner(MATCH_COSTS)
    for group in range(num_groups):
        rows = slice(group * group_size, (group + 1) * group_size)
        expected = single.assign(preds[rows], gts, IMG_META)
        assert torch.equal(result.gt_inds[rows], expected.gt_inds)
        assert torch.equal(result.labels[rows], expected.labels)
        matched = result.gt_inds[rows][result.gt_inds[rows] > 0]
        assert len(matched) == len(set(matched.tolist()))
        assert len(matched) == min(group_size, num_gts)


@pytest.mark.parametrize('seed', range(10))
def test_total_cost_is_the_smallest(seed):
    """Against all permutations: 2 groups of 4 queries, 3 ground truths."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(8, 3, generator=generator)
    result = with_table(table, num_groups=2).assign(*table_instances(8, 3))
    for group in range(2):
        cost = table[group * 4 : group * 4 + 4]
        gt_inds = result.gt_inds[group * 4 : group * 4 + 4]
        rows = gt_inds.nonzero().squeeze(1)
        total = cost[rows, gt_inds[rows] - 1].sum()
        best = min(
            sum(cost[row, col] for col, row in enumerate(chosen))
            for chosen in permutations(range(4), 3)
        )
        torch.testing.assert_close(total, best)


def test_order_of_ground_truths_does_not_matter():
    preds, gts = random_instances(12, 5)
    order = torch.tensor([3, 0, 4, 2, 1])
    assigner = GroupHungarianAssigner(MATCH_COSTS, num_groups=2)
    plain = assigner.assign(preds, gts, IMG_META).gt_inds
    shuffled = assigner.assign(preds, gts[order], IMG_META).gt_inds
    matched = shuffled > 0
    restored = torch.zeros_like(shuffled)
    restored[matched] = order[shuffled[matched] - 1] + 1
    assert torch.equal(restored, plain)


def test_number_of_groups_can_be_given_per_call():
    preds, gts = random_instances(12, 3)
    configured = GroupHungarianAssigner(MATCH_COSTS, num_groups=3)
    overridden = GroupHungarianAssigner(MATCH_COSTS, num_groups=5)
    assert_same(
        overridden.assign(preds, gts, IMG_META, num_groups=3),
        configured.assign(preds, gts, IMG_META),
    )
    one = configured.assign(preds, gts, IMG_META, num_groups=1)
    assert (one.gt_inds > 0).sum() == 3


def test_costs_are_computed_once_for_all_groups():
    assigner = with_table(torch.rand(12, 3), num_groups=4)
    assigner.assign(*table_instances(12, 3))
    assert assigner.match_costs[0].num_calls == 1


def test_inputs_get_no_gradient_and_half_precision_is_lifted():
    preds, gts = random_instances(6, 2)
    preds.scores = preds.scores.bfloat16().requires_grad_()
    preds.bboxes = preds.bboxes.bfloat16()
    lifted = InstanceData(
        scores=preds.scores.detach().float(), bboxes=preds.bboxes.float()
    )
    assigner = GroupHungarianAssigner(MATCH_COSTS, num_groups=2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = assigner.assign(preds, gts, IMG_META)
        cost = assigner._cost_matrix(preds, gts, IMG_META)
    assert_same(result, assigner.assign(lifted, gts, IMG_META))
    assert torch.equal(cost, assigner._cost_matrix(lifted, gts, IMG_META))
    assert cost.dtype is torch.float32 and not cost.requires_grad
    assert preds.scores.dtype is torch.bfloat16


def test_autocast_does_not_reach_the_costs():
    preds, gts = random_instances(6, 2)
    assigner = GroupHungarianAssigner(MATCH_COSTS)
    assigner.match_costs = [
        lambda pred_instances, **kwargs: pred_instances.scores
        @ pred_instances.scores.T
    ]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        cost = assigner._cost_matrix(preds, gts, IMG_META)
    assert torch.equal(cost, preds.scores @ preds.scores.T)


def test_box_cost_is_l1_on_normalised_cxcywh():
    """What box_format='xywh' of mmdet means, with H != W."""
    preds, gts = random_instances(7, 3)
    cost = TASK_UTILS.build(
        dict(type='BBoxL1Cost', weight=5.0, box_format='xywh')
    )(preds, gts, IMG_META)
    wh_px = torch.tensor([80.0, 48.0, 80.0, 48.0])
    preds_norm = bbox_xyxy_to_cxcywh(preds.bboxes / wh_px)
    gts_norm = bbox_xyxy_to_cxcywh(gts.bboxes / wh_px)
    expected = 5 * (preds_norm[:, None] - gts_norm[None]).abs().sum(-1)
    torch.testing.assert_close(cost, expected)


NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
    ('costs', 'expected'),
    [
        ([[1.0, 2.0]], [[1.0, 2.0]]),
        ([[1.0, NAN], [INF, -2.0]], [[1.0, 4.0], [4.0, -2.0]]),
        ([[-3.0, -INF]], [[-3.0, 1.0]]),
        ([[3e38, NAN]], [[3e38, torch.finfo(torch.float32).max]]),
        ([[NAN, INF]], [[torch.finfo(torch.float32).max] * 2]),
    ],
)
def test_non_finite_costs_become_the_worst(costs, expected):
    others = [[7.0] * len(row) for row in costs]
    result = replace_non_finite(torch.tensor([costs, others]))
    torch.testing.assert_close(result, torch.tensor([expected, others]))


@pytest.mark.parametrize('bad', [NAN, INF, -INF])
def test_broken_prediction_is_matched_last(bad):
    preds, gts = random_instances(8, 3)
    preds.scores[2] = bad
    preds.bboxes[5, 1] = bad
    assigner = GroupHungarianAssigner(MATCH_COSTS, num_groups=2)
    gt_inds = assigner.assign(preds, gts, IMG_META).gt_inds
    assert gt_inds[2] == 0 and gt_inds[5] == 0
    assert (gt_inds > 0).sum() == 6


def test_registered_and_usable_as_hungarian_assigner():
    assigner = TASK_UTILS.build(
        dict(type='GroupHungarianAssigner', match_costs=MATCH_COSTS[0])
    )
    assert isinstance(assigner, HungarianAssigner)
    assert assigner.num_groups == 1 and len(assigner.match_costs) == 1


def test_rows_that_do_not_divide_are_explained():
    preds, gts = random_instances(10, 2)
    assigner = GroupHungarianAssigner(MATCH_COSTS, num_groups=3)
    with pytest.raises(ValueError, match='10 predictions / 3 groups leaves 1'):
        assigner.assign(preds, gts, IMG_META)


@pytest.mark.parametrize('num_groups', [0, -1, 2.0, True, '2'])
def test_wrong_number_of_groups_is_explained(num_groups):
    with pytest.raises(ValueError, match='integer of at least 1'):
        GroupHungarianAssigner(MATCH_COSTS, num_groups=num_groups)
    preds, gts = random_instances(4, 2)
    with pytest.raises(ValueError, match='integer of at least 1'):
        GroupHungarianAssigner(MATCH_COSTS).assign(
            preds, gts, IMG_META, num_groups=num_groups
        )


def test_missing_costs_are_explained():
    for nothing in ([], {}, [{}]):
        with pytest.raises(ValueError, match='at least one match cost'):
            GroupHungarianAssigner(nothing)
    with pytest.raises(TypeError, match='got str'):
        GroupHungarianAssigner('BBoxL1Cost')


def peak_bytes(num_preds, num_gts):
    """Most memory that torch held at once while matching."""
    preds, gts = random_instances(num_preds, num_gts)
    assigner = GroupHungarianAssigner(MATCH_COSTS, num_groups=13)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        assigner.assign(preds, gts, IMG_META)
    events = profile.profiler.kineto_results.events()
    changes = [e.nbytes() for e in events if e.name() == '[memory]']
    assert changes
    return max(accumulate(changes))


@pytest.mark.parametrize('num_gts', [30, 300])
def test_memory_is_bounded(num_gts):
    """About 20 cost matrices, as the docstring says: 90 MB for 300 objects.

    One image is matched at a time, so this is the peak of a batch as well.
    """
    num_preds = 13 * 300
    matrices = peak_bytes(num_preds, num_gts) / (4 * num_preds * num_gts)
    assert 10 < matrices < 20
