"""IABCELoss: values by hand, gradients, edge cases, mmdet's own heads."""

import math

import pytest
import torch
from mmdet.models.losses import QualityFocalLoss
from mmdet.registry import MODELS
from mmengine.structures import InstanceData

from rfdetr_mm.models.losses import IABCELoss
from rfdetr_mm.models.losses.ia_bce_loss import (
    _LossOfNegatives,
    iou_aware_bce,
)
from tests.gradients import random_inputs
from tests.kept_shapes import kept_shapes


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def negative(x):
    p = sigmoid(x)
    return -(p**2) * math.log(1 - p)


def positive(x, iou, alpha=0.25, min_target=0.01):
    p = sigmoid(x)
    t = max(p**alpha * iou ** (1 - alpha), min_target)
    return -t * math.log(p) - (1 - t) * math.log(1 - p)


LOGITS = [[0.3, -1.2, 2.0], [-0.7, 0.1, -3.0], [1.5, -0.4, 0.6]]
CASES = [
    # id, labels, ious, expected loss of each row
    (
        'all background',
        [3, 3, 3],
        [0.9, 0.9, 0.9],
        [sum(negative(x) for x in row) for row in LOGITS],
    ),
    (
        'two matched',
        [2, 3, 0],
        [0.8, 0.0, 0.35],
        [
            negative(0.3) + negative(-1.2) + positive(2.0, 0.8),
            sum(negative(x) for x in LOGITS[1]),
            positive(1.5, 0.35) + negative(-0.4) + negative(0.6),
        ],
    ),
    (
        'no overlap gives the lower bound',
        [3, 1, 3],
        [0.0, 0.0, 0.0],
        [
            sum(negative(x) for x in LOGITS[0]),
            negative(-0.7) + positive(0.1, 0.0) + negative(-3.0),
            sum(negative(x) for x in LOGITS[2]),
        ],
    ),
    (
        'negative labels are background',
        [-1, -1, -1],
        [0.5, 0.5, 0.5],
        [sum(negative(x) for x in row) for row in LOGITS],
    ),
]


@pytest.mark.parametrize(
    ('labels', 'ious', 'expected'),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_value_by_hand(labels, ious, expected):
    target = (torch.tensor(labels), torch.tensor(ious))
    logits = torch.tensor(LOGITS)
    loss = IABCELoss()(logits, target, reduction_override='none')
    torch.testing.assert_close(loss, torch.tensor(expected))
    reduced = IABCELoss(loss_weight=2.0)(logits, target, avg_factor=5.0)
    torch.testing.assert_close(reduced, torch.tensor(2 * sum(expected) / 5))
    mean = IABCELoss()(logits, target)
    torch.testing.assert_close(mean, torch.tensor(sum(expected) / 3))


def test_arguments_change_the_target():
    logits, iou = torch.tensor([[0.4]]), torch.tensor([0.3])
    target = (torch.tensor([0]), iou)
    loss = IABCELoss(alpha=0.6)(logits, target)
    torch.testing.assert_close(
        loss, torch.tensor(positive(0.4, 0.3, alpha=0.6))
    )
    loss = IABCELoss(min_target=0.9)(logits, target)
    torch.testing.assert_close(
        loss, torch.tensor(positive(0.4, 0.3, min_target=0.9))
    )


def test_weight_scales_predictions():
    logits = torch.tensor(LOGITS)
    target = (torch.tensor([2, 3, 0]), torch.tensor([0.8, 0.0, 0.35]))
    each = IABCELoss()(logits, target, reduction_override='none')
    weight = torch.tensor([0.0, 1.0, 0.5])
    loss = IABCELoss()(logits, target, weight, avg_factor=4.0)
    torch.testing.assert_close(loss, (each * weight).sum() / 4)


def test_gradient_flows_through_negative_weight_but_not_target():
    """Derivatives by hand; a detached p**2 or a live t changes both."""
    logits = torch.tensor([[0.4, -0.9]], requires_grad=True)
    iou = torch.tensor([0.6], requires_grad=True)
    loss = IABCELoss(reduction='sum')(logits, (torch.tensor([0]), iou))
    loss.backward()
    t = sigmoid(0.4) ** 0.25 * 0.6**0.75
    p = sigmoid(-0.9)
    by_hand = [
        sigmoid(0.4) - t,
        p**3 - 2 * p**2 * (1 - p) * math.log(1 - p),
    ]
    torch.testing.assert_close(logits.grad[0], torch.tensor(by_hand))
    assert iou.grad is None


def test_inputs_are_left_alone():
    logits = torch.tensor(LOGITS)
    labels, ious = torch.tensor([2, 3, 0]), torch.tensor([0.8, 0.0, 0.35])
    copies = [x.clone() for x in (logits, labels, ious)]
    IABCELoss()(logits, (labels, ious))
    for now, before in zip((logits, labels, ious), copies):
        assert torch.equal(now, before)


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
@pytest.mark.parametrize('num_preds', [0, 2])
def test_nothing_to_learn_is_finite_and_connected(num_preds, reduction):
    logits = torch.zeros(num_preds, 3, requires_grad=True)
    labels = torch.full((num_preds,), 3)
    loss = IABCELoss(reduction=reduction)(
        logits, (labels, torch.zeros(num_preds))
    )
    assert loss.isfinite().all()
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_confident_logits_stay_finite():
    logits = torch.tensor([[90.0, -90.0], [-90.0, 90.0]], requires_grad=True)
    target = (torch.tensor([1, 1]), torch.tensor([1.0, 1.0]))
    loss = IABCELoss()(logits, target)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_lifted(dtype):
    logits = torch.tensor(LOGITS).to(dtype)
    target = (torch.tensor([2, 3, 0]), torch.tensor([0.8, 0.0, 0.35]))
    loss = IABCELoss()(logits, target)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, IABCELoss()(logits.float(), target))


@pytest.mark.parametrize(
    ('target', 'error', 'message'),
    [
        (torch.zeros(3, 3), TypeError, r'\(labels, ious\).*got Tensor'),
        ((torch.zeros(3),), TypeError, r'\(labels, ious\).*got tuple'),
        ((torch.zeros(3), [0.0] * 3), TypeError, r'two tensors'),
        ((torch.zeros(3), torch.zeros(2)), ValueError, r'ious.*got \(2,\)'),
        ((torch.zeros(3, 1), torch.zeros(3)), ValueError, r'labels.*\(3, 1\)'),
    ],
)
def test_wrong_target_is_explained(target, error, message):
    with pytest.raises(error, match=message):
        IABCELoss()(torch.zeros(3, 3), target)


def test_wrong_weight_is_explained():
    target = (torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match=r'weight.*got \(3, 2\)'):
        IABCELoss()(torch.zeros(3, 2), target, weight=torch.ones(3, 2))


def test_wrong_settings_are_explained():
    with pytest.raises(ValueError, match='alpha <= 1, got 1.5'):
        IABCELoss(alpha=1.5)
    with pytest.raises(ValueError, match='min_target <= 1, got -1'):
        IABCELoss(min_target=-1)
    with pytest.raises(ValueError, match="got 'avg'"):
        IABCELoss(reduction='avg')
    target = (torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="got 'avg'"):
        IABCELoss()(torch.zeros(3, 2), target, reduction_override='avg')


def test_registered_as_a_quality_focal_loss():
    loss = MODELS.build(dict(type='IABCELoss', loss_weight=3.0))
    assert isinstance(loss, IABCELoss)
    assert isinstance(loss, QualityFocalLoss)
    assert loss.use_sigmoid and loss.loss_weight == 3.0


def head_config(head_type, **kwargs):
    return dict(
        type=head_type,
        num_classes=4,
        embed_dims=8,
        loss_cls=dict(type='IABCELoss', loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=5.0),
        loss_iou=dict(type='GIoULoss', loss_weight=2.0),
        train_cfg=dict(
            assigner=dict(
                type='GroupHungarianAssigner',
                match_costs=[
                    dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
                    dict(type='FocalLogitCost', weight=2.0),
                    dict(type='IoUCost', iou_mode='giou', weight=2.0),
                ],
            )
        ),
        **kwargs,
    )


def ground_truths():
    """Images of 40 x 60 pixels (H x W): two boxes, no box."""
    boxes = torch.tensor([[5.0, 4.0, 30.0, 20.0], [20.0, 10.0, 55.0, 38.0]])
    gts = [
        InstanceData(bboxes=boxes, labels=torch.tensor([3, 1])),
        InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        ),
    ]
    return gts, [dict(img_shape=(40, 60))] * 2


@pytest.mark.parametrize('head_type', ['DETRHead', 'DeformableDETRHead'])
def test_in_heads_of_mmdet(head_type):
    torch.manual_seed(0)
    extra = {}
    if head_type == 'DeformableDETRHead':
        extra = dict(share_pred_layer=True, num_pred_layer=2)
    head = MODELS.build(head_config(head_type, **extra))
    gts, metas = ground_truths()
    logits = torch.randn(2, 6, 4, requires_grad=True)
    boxes = torch.rand(2, 6, 4) * 0.4 + 0.2
    losses = head.loss_by_feat_single(logits, boxes, gts, metas)
    assert all(loss.isfinite() for loss in losses)
    losses[0].backward()
    assert (logits.grad != 0).all()
    # The head has to hand over IoUs: its value is that of the loss alone.
    targets = head.get_targets(list(logits), list(boxes), gts, metas)
    labels = torch.cat(targets[0])
    matched = labels < 4
    assert matched.sum() == 2
    assert losses[0] != head.loss_cls(
        logits.reshape(-1, 4), (labels, torch.zeros(12)), avg_factor=2
    )


def test_in_denoising_of_dino():
    torch.manual_seed(0)
    head = MODELS.build(
        head_config('DINOHead', share_pred_layer=True, num_pred_layer=2)
    )
    gts, metas = ground_truths()
    num_denoising_groups, max_gts = 3, 2
    num_denoising = num_denoising_groups * 2 * max_gts
    logits = torch.randn(2, num_denoising, 4, requires_grad=True)
    boxes = torch.rand(2, num_denoising, 4) * 0.4 + 0.2
    loss_cls, _, _ = head._loss_dn_single(
        logits,
        boxes,
        batch_gt_instances=gts,
        batch_img_metas=metas,
        dn_meta=dict(
            num_denoising_queries=num_denoising,
            num_denoising_groups=num_denoising_groups,
        ),
    )
    assert loss_cls.isfinite()
    loss_cls.backward()
    assert (logits.grad != 0).all()


def test_gradients_by_differences():
    (logits,) = random_inputs(0, (5, 3))
    labels, ious = torch.tensor([0, 3, 2, 3, 1]), torch.rand(5)

    def loss(logits):
        # A soft target of 1 does not follow the logits: it has no gradient.
        return iou_aware_bce(logits, labels, ious, min_target=1.0)

    assert torch.autograd.gradcheck(loss, [logits])


def test_gradients_far_from_zero_are_finite():
    logits = torch.tensor([[-100.0, -20, 0, 20, 100]], requires_grad=True)
    loss = iou_aware_bce(logits, torch.tensor([5]), torch.zeros(1))
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    # p -> 0: nothing; p -> 1: -log(1 - p) has the slope 1
    expected = torch.tensor([0, 0, 0.125 + 0.25 * math.log(2), 1, 1])
    torch.testing.assert_close(grad[0], expected)


def test_only_the_logits_are_kept():
    logits = torch.randn(5, 3, requires_grad=True)
    with kept_shapes() as kept:
        logits.sigmoid().square() * torch.nn.functional.softplus(logits)
        assert kept.count((5, 3)) > 1  # the control
        kept.clear()
        _LossOfNegatives.apply(logits)
    assert kept == [(5, 3)]
