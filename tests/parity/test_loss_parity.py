"""IA-BCE term and its gradient against rfdetr's SetCriterion."""

import os

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.losses import QualityFocalLoss
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps

os.environ.setdefault('HF_HUB_OFFLINE', '1')
pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from rfdetr.config import RFDETRNanoConfig, TrainConfig
from rfdetr.models import build_criterion_from_config

from rfdetr_mm.models.losses import IABCELoss

pytestmark = pytest.mark.parity

NUM_GROUPS, GROUP_SIZE, NUM_CLASSES = 13, 7, 6
RTOL = 1e-5


@pytest.fixture(scope='module')
def criterion():
    config = RFDETRNanoConfig(pretrain_weights=None, device='cpu')
    criterion, _ = build_criterion_from_config(
        config, TrainConfig(dataset_dir='.')
    )
    return criterion.train()


def random_boxes(num, generator):
    """Normalised cxcywh."""
    centres = torch.rand(num, 2, generator=generator) * 0.6 + 0.2
    sizes = torch.rand(num, 2, generator=generator) * 0.35 + 0.03
    return torch.cat([centres, sizes], dim=1)


def random_batch(nums_gts, logit_scale, seed=0):
    """Logits, boxes and targets of a batch, and rfdetr's matching of it."""
    generator = torch.Generator().manual_seed(seed)
    bs, num_preds = len(nums_gts), NUM_GROUPS * GROUP_SIZE
    logits = torch.randn(bs, num_preds, NUM_CLASSES, generator=generator)
    boxes = random_boxes(bs * num_preds, generator).view(bs, -1, 4)
    targets = [
        dict(
            labels=torch.randint(NUM_CLASSES, (num,), generator=generator),
            boxes=random_boxes(num, generator),
        )
        for num in nums_gts
    ]
    return logits * logit_scale - 1, boxes, targets


def upstream_loss(criterion, logits, boxes, targets):
    """Value and gradient; rfdetr's spare class column is dead (-20)."""
    logits = logits.clone().requires_grad_()
    outputs = dict(pred_logits=F.pad(logits, (0, 1), value=-20.0))
    outputs['pred_boxes'] = boxes
    loss = criterion(outputs, targets)['loss_ce']
    loss.backward()
    return loss.detach(), logits.grad


def our_loss(loss_module, criterion, logits, boxes, targets):
    """Value and gradient with rfdetr's matching."""
    indices = criterion.matcher(
        dict(pred_logits=logits, pred_boxes=boxes),
        targets,
        group_detr=NUM_GROUPS,
    )
    labels = torch.full(logits.shape[:2], NUM_CLASSES)
    ious = torch.zeros(logits.shape[:2])
    for image, (rows, cols) in enumerate(indices):
        labels[image, rows] = targets[image]['labels'][cols]
        ious[image, rows] = bbox_overlaps(
            bbox_cxcywh_to_xyxy(boxes[image, rows]),
            bbox_cxcywh_to_xyxy(targets[image]['boxes'][cols]),
            is_aligned=True,
            eps=1e-7,
        )
    num_gts = sum(len(target['labels']) for target in targets)
    logits = logits.clone().requires_grad_()
    loss = loss_module(
        logits.flatten(0, 1),
        (labels.flatten(), ious.flatten()),
        weight=torch.ones(labels.numel()),
        avg_factor=max(num_gts * NUM_GROUPS, 1),
    )
    loss.backward()
    return loss.detach(), logits.grad


def assert_parity(found, expected):
    for ours, theirs in zip(found, expected):
        # elements of a gradient are compared on the scale of the largest
        atol = RTOL * theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=RTOL, atol=atol)


@pytest.mark.parametrize('logit_scale', [1.0, 8.0])
@pytest.mark.parametrize(
    'nums_gts', [[3, 0, 12, 1], [5], [0, 0], [9, 9]], ids=str
)
def test_value_and_gradient(criterion, nums_gts, logit_scale):
    batch = random_batch(nums_gts, logit_scale)
    found = our_loss(IABCELoss(), criterion, *batch)
    assert_parity(found, upstream_loss(criterion, *batch))


class DetachedNegatives(IABCELoss):
    """IA-BCE whose p**2 has no gradient; the value is the same."""

    def forward(self, pred, target, weight=None, avg_factor=None):
        labels, ious = target
        prob = pred.sigmoid().detach()
        loss = prob.square() * F.softplus(pred)
        rows = (labels < pred.size(1)).nonzero().squeeze(1)
        matched = rows, labels[rows]
        soft = prob[matched] ** 0.25 * ious[rows] ** 0.75
        loss[matched] = F.binary_cross_entropy_with_logits(
            pred[matched], soft.clamp(min=0.01), reduction='none'
        )
        return loss.sum() / avg_factor


@pytest.mark.parametrize(
    'loss_module',
    [
        IABCELoss(alpha=0.3),
        IABCELoss(min_target=0.2),
        IABCELoss(loss_weight=1.01),
        QualityFocalLoss(),
        DetachedNegatives(),
    ],
    ids=['alpha', 'min_target', 'loss_weight', 'QFL', 'detached'],
)
def test_negative_control(criterion, loss_module):
    batch = random_batch([3, 12], 1.0)
    found = our_loss(loss_module, criterion, *batch)
    with pytest.raises(AssertionError):
        assert_parity(found, upstream_loss(criterion, *batch))
