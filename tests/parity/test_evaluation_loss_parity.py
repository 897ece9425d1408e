"""Losses of a validation are those of rfdetr: one group, all layers.

Boxes, masks and keypoints; images with H != W, one of them without objects.
"""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from oracle import nested
from train_step import SEED, expected_names, targets_for, upstream_criterion

from rfdetr_mm.engine.evaluation_losses import EvaluationLosses

pytestmark = pytest.mark.parity

COUNTS = (3, 0, 5)
LOADER = dict(dataset=dict(pipeline=[]))


@torch.no_grad()
def both_sides(pair):
    """Upstream's terms with their weights, and our means."""
    images = pair.images(seed=11, bs=len(COUNTS))
    head = pair.ours.bbox_head
    targets, samples = targets_for(images, COUNTS, task=head.task)
    criterion = upstream_criterion(pair).eval()
    outputs = pair.upstream(nested(images))
    torch.manual_seed(SEED)
    terms = criterion(outputs, targets)
    weights = criterion.weight_dict
    for sample in samples:
        sample.set_metainfo(dict(scale_factor=(1.0, 1.0), ori_shape=(48, 60)))
    losses = EvaluationLosses(pair.ours, LOADER)
    torch.manual_seed(SEED)
    state = torch.get_rng_state()
    losses.run(
        lambda data: pair.ours(images, data['data_samples'], mode='predict'),
        dict(data_samples=samples),
    )
    assert torch.equal(torch.get_rng_state(), state)
    weighted = {k: terms[k] * weights[k] for k in terms if k in weights}
    return weighted, losses.means('')


def check(pair, tolerance=2e-4):
    theirs, ours = both_sides(pair)
    names = expected_names(pair.ours.bbox_head)
    assert set(names.values()) == set(theirs)
    for name, upstreams in names.items():
        assert ours[name] == pytest.approx(
            theirs[upstreams].item(), rel=tolerance, abs=1e-6
        ), name
    total = sum(theirs.values()).item()
    assert ours['loss'] == pytest.approx(total, rel=tolerance)


def test_boxes(pair):
    check(pair)


def test_masks(seg_pair):
    check(seg_pair)


def test_keypoints(pose_pair):
    check(pose_pair)


@torch.no_grad()
def test_training_gives_others(pose_pair):
    """The negative control: all groups, as in training."""
    theirs, _ = both_sides(pose_pair)
    images = pose_pair.images(seed=11, bs=len(COUNTS))
    _, samples = targets_for(images, COUNTS, task='keypoint')
    losses = pose_pair.ours.train()(images, samples, mode='loss')
    total = sum(v for k, v in losses.items() if 'loss' in k).item()
    assert total != pytest.approx(sum(theirs.values()).item(), rel=2e-4)
