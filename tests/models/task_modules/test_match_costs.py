"""FocalLogitCost: value by hand, mmdet's twin, extreme logits."""

import math

import torch
from mmdet.models.task_modules.assigners import FocalLossCost
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from rfdetr_mm.models.task_modules import FocalLogitCost


def instances(num_preds=7, num_classes=5, num_gts=3, scale=3.0):
    generator = torch.Generator().manual_seed(0)
    preds = InstanceData(
        scores=torch.randn(num_preds, num_classes, generator=generator) * scale
    )
    gts = InstanceData(
        labels=torch.randint(num_classes, (num_gts,), generator=generator)
    )
    return preds, gts


def test_value_by_hand():
    preds = InstanceData(scores=torch.tensor([[0.5, -2.0]]))
    gts = InstanceData(labels=torch.tensor([1, 0, 1]))
    cost = TASK_UTILS.build(dict(type='FocalLogitCost', weight=2.0))
    expected = []
    for x in (-2.0, 0.5, -2.0):
        p = 1 / (1 + math.exp(-x))
        expected.append(
            -0.25 * (1 - p) ** 2 * math.log(p) + 0.75 * p**2 * math.log(1 - p)
        )
    torch.testing.assert_close(
        cost(preds, gts), 2 * torch.tensor(expected)[None]
    )


def test_equals_focal_loss_cost_of_mmdet():
    preds, gts = instances()
    preds.scores = preds.scores.double()  # mmdet's 1 - p is coarse in fp32
    for settings in ({}, dict(alpha=0.4, gamma=1.5, weight=3.0)):
        torch.testing.assert_close(
            FocalLogitCost(**settings)(preds, gts),
            FocalLossCost(**settings)(preds, gts),
        )


def test_extreme_logits_keep_their_order():
    """mmdet's eps saturates here: log(1e-12) = -27.6 for all of them."""
    preds = InstanceData(
        scores=torch.tensor([[-40.0], [-60.0], [-80.0], [200.0]])
    )
    gts = InstanceData(labels=torch.tensor([0]))
    cost = FocalLogitCost()(preds, gts)
    torch.testing.assert_close(
        cost[:, 0], torch.tensor([10.0, 15.0, 20.0, -150.0])
    )


def test_no_ground_truth():
    preds, gts = instances(num_gts=0)
    assert FocalLogitCost()(preds, gts).shape == (7, 0)
