"""Losses and costs of keypoints, which share their formulas."""

import math

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.structures import InstanceData

from rfdetr_mm.errors import InputError
from rfdetr_mm.models.layers.keypoint_schema import KeypointSchema

NAMES = ('L1', 'Findable', 'Visible', 'NLL')


def loss(name, **kwargs):
    return MODELS.build(dict(type=f'Keypoint{name}Loss', **kwargs))


def one_object():
    """Two keypoints of which one is labelled, hidden, and 0.1 to the left."""
    pred = torch.zeros(1, 2, 8)
    pred[0, :, :2] = 0.5
    target = torch.tensor([[[0.6, 0.5, 1.0], [0.0, 0.0, 0.0]]])
    area = torch.tensor([0.04])
    return pred, target, area, torch.ones(1, 2, dtype=torch.bool)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('L1', 0.1 / 0.2),
        ('Findable', math.log(2)),
        ('Visible', math.log(2)),
        ('NLL', 0.5 * 0.01 / 0.04),
    ],
)
def test_values_by_hand(name, expected):
    found = loss(name, reduction='none')(*one_object())
    torch.testing.assert_close(found, torch.tensor([expected]))


@pytest.mark.parametrize(
    ('channel', 'value', 'name', 'expected'),
    [
        (2, 3.0, 'Findable', (math.log1p(math.e**-3) + math.log(2)) / 2),
        (3, 3.0, 'Visible', (math.log1p(math.e**3) + math.log(2)) / 2),
        (4, 1.0, 'NLL', 0.5 * math.e**2 * 0.01 / 0.04 - 1),
        (6, 1.0, 'NLL', 0.5 * 0.01 / 0.04 - 1),
        (5, 7.0, 'NLL', 0.5 * 0.01 / 0.04),  # times dy, which is 0
    ],
)
def test_channels_by_hand(channel, value, name, expected):
    pred, target, area, active = one_object()
    pred[0, 0, channel] = value
    found = loss(name, reduction='none')(pred, target, area, active)
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_the_likelihood_is_that_of_a_normal_distribution():
    """Up to its constant and the area, for a full triangle."""
    pred, target, area, active = one_object()
    target[0, 0, 1] = 0.3
    pred[0, 0, 4:7] = torch.tensor([0.3, -0.8, -0.4])
    area.fill_(1.0)
    lower = torch.tensor([[math.exp(0.3), 0.0], [-0.8, math.exp(-0.4)]])
    # upstream's (l11 dx + l21 dy, l22 dy) is L.T @ (dx, dy)
    normal = torch.distributions.MultivariateNormal(
        pred[0, 0, :2], precision_matrix=lower @ lower.T
    )
    expected = -normal.log_prob(target[0, 0, :2]) - math.log(2 * math.pi)
    found = loss('NLL')(pred, target, area, active)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize('channel', range(7))
def test_a_bad_number_counts_for_nothing(name, bad, channel):
    """Of one keypoint; the other keeps its value and its gradient."""
    generator = torch.Generator().manual_seed(channel)
    pred = torch.randn(2, 3, 8, generator=generator)
    target = torch.rand(2, 3, 3, generator=generator)
    target[..., 2] = 2
    active = torch.ones(2, 3, dtype=torch.bool)
    pred[0, 1, channel] = bad
    pred.requires_grad_()
    found = loss(name, reduction='none')(
        pred, target, torch.tensor([0.1, 0.2]), active
    )
    assert found.isfinite().all()
    found.sum().backward()
    assert pred.grad.isfinite().all()
    assert pred.grad[0, [0, 2]].abs().sum() > 0


@pytest.mark.parametrize('name', NAMES)
def test_what_counts_for_nothing(name):
    """Keypoints that a class lacks, and boxes without area."""
    pred, target, area, active = one_object()
    function = loss(name, reduction='none')
    expected = function(pred[:, :1], target[:, :1], area, active[:, :1])
    pred[0, 1] = 9.0
    target[0, 1] = torch.tensor([0.1, 0.2, 2.0])
    active[0, 1] = False
    assert torch.equal(function(pred, target, area, active), expected)
    if name in ('L1', 'NLL'):
        for bad in (0.0, -1.0, math.nan, math.inf):
            area.fill_(bad)
            assert function(pred, target, area, active) == 0
    empty = function(pred[:0], target[:0], area[:0], active[:0])
    assert empty.shape == (0,)
    assert loss(name)(pred[:0], target[:0], area[:0], active[:0]) == 0


def test_reductions_and_weights():
    args = [torch.cat([x, x]) for x in one_object()]
    args[1][1, 0, 0] = 0.9
    each = loss('L1', reduction='none')(*args)
    assert each[0] != each[1]
    doubled = loss('L1', loss_weight=2.0)
    torch.testing.assert_close(doubled(*args), 2 * each.mean())
    torch.testing.assert_close(
        doubled(*args, avg_factor=8), each.sum() * 2 / 8
    )
    weighted = doubled(
        *args, weight=torch.tensor([1.0, 0.0]), reduction_override='sum'
    )
    torch.testing.assert_close(weighted, 2 * each[0])
    with pytest.raises(InputError, match='reduction'):
        loss('L1', reduction='median')


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('num_objects', [0, 4])
def test_costs_are_the_losses_of_all_pairs(name, num_objects):
    """Of classes of other numbers of keypoints, on H != W."""
    schema = KeypointSchema((3, 0, 2))
    generator = torch.Generator().manual_seed(0)
    preds = torch.randn(5, schema.total, 8, generator=generator)
    labels = torch.tensor([0, 2, 1, 0])[:num_objects]
    targets = torch.rand(4, 3, 3, generator=generator)[:num_objects]
    targets[..., 2] = torch.randint(3, (num_objects, 3), generator=generator)
    boxes = torch.tensor([[10.0, 5.0, 40.0, 50.0]] * 4)[:num_objects]
    boxes[:, 2] += torch.arange(num_objects)
    predictions = InstanceData(keypoints=preds)
    predictions.set_metainfo(dict(schema=schema))
    objects = InstanceData(labels=labels, keypoints=targets, bboxes=boxes)
    cost = TASK_UTILS.build(dict(type=f'Keypoint{name}Cost', weight=3.0))
    found = cost(predictions, objects, dict(img_shape=(80, 120)))
    assert found.shape == (5, num_objects)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 9600
    for i, label in enumerate(labels):
        pairs = (
            preds[:, schema.parts()[label]],
            targets[i, : schema.counts[label]].expand(5, -1, -1),
            areas[i].expand(5),
            torch.ones(5, schema.counts[label], dtype=torch.bool),
        )
        expected = 3.0 * loss(name, reduction='none')(*pairs)
        torch.testing.assert_close(found[:, i], expected)


def test_schemas_as_tables():
    schema = KeypointSchema((2, 0, 3))
    assert (schema.total, schema.largest) == (5, 3)
    assert schema.classes().tolist() == [0, 0, 2, 2, 2]
    assert schema.places().tolist() == [[0, 1, 0], [0, 0, 0], [2, 3, 4]]
    mask = schema.attention_mask()
    assert mask[0].all() and mask[:, 0].all()
    assert mask[1:, 1:].int().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1],
    ]
    assert KeypointSchema((0, 4)).attention_mask() is None
