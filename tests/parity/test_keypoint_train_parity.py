"""One training step of the keypoint model, beside upstream's.

Costs, assignments, every loss term, and gradients in float64.
"""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from compare import END_TO_END, assert_stage, gradient_errors
from oracle import NUM_KEYPOINTS, NUM_QUERIES
from test_mask_train_parity import check_terms, layers_of
from train_step import (
    in_float64,
    our_losses,
    run_step,
    targets_for,
    upstream_criterion,
)

from rfdetr_mm.models.task_modules.batch_objects import BatchObjects

pytestmark = pytest.mark.parity

COUNTS = (3, 0, NUM_QUERIES + 4)
GRADIENT_TOLERANCE = 1e-6


@pytest.fixture(scope='session')
def step(any_pose_pair):
    return run_step(any_pose_pair, torch.float32, COUNTS)


@pytest.fixture(scope='session')
def exact_step(any_pose_pair):
    """The step in float64; upstream's likelihood stays in float32."""
    with in_float64(any_pose_pair) as pair:
        result = run_step(pair, torch.float64, COUNTS)
    return result


def normalised(step):
    head = step['pair'].ours.bbox_head
    metas = [s.metainfo for s in step['samples']]
    objects = [
        head._normalised(s.gt_instances, meta)
        for s, meta in zip(step['samples'], metas)
    ]
    return objects, metas


def test_outputs_of_all_groups(step):
    outputs = step['outputs']
    expected = [outputs, *outputs['aux_outputs'], outputs['enc_outputs']]
    head = step['pair'].ours.bbox_head
    layers = step['outs'].layers()
    for ours, theirs in zip(layers.values(), expected, strict=True):
        assert_stage(
            head._padded(ours.keypoints),
            theirs['pred_keypoints'],
            **END_TO_END,
        )


@torch.no_grad()
def test_keypoint_costs(step):
    from rfdetr.models.heads.keypoints import compute_keypoint_matching_cost

    head = step['pair'].ours.bbox_head
    objects, metas = normalised(step)
    names = ('L1', 'Findable', 'Visible', 'NLL')
    for ours, theirs in layers_of(step):
        pairs = head._match_instances(ours, objects, metas)
        for i, (preds, gts) in enumerate(pairs):
            target = step['targets'][i]
            boxes = target['boxes']
            expected = compute_keypoint_matching_cost(
                theirs['pred_keypoints'][i : i + 1],
                target['keypoints'],
                target['labels'],
                boxes[:, 2] * boxes[:, 3],
                NUM_KEYPOINTS,
            )
            costs = head.assigner.match_costs[3:]
            for name, cost, theirs_cost in zip(names, costs, expected):
                assert type(cost).__name__ == f'Keypoint{name}Cost'
                found = cost(preds, gts, metas[i])
                assert_stage(found, theirs_cost[0])
                if COUNTS[i]:  # the negative control: an area too large
                    other = cost(preds, gts, dict(img_shape=(47, 95)))
                    assert torch.equal(other, found) == (
                        name in ('Findable', 'Visible')
                    )


@torch.no_grad()
def test_assignment(step):
    """Every object of an image, or every query of a group, is matched."""
    head = step['pair'].ours.bbox_head
    matcher = upstream_criterion(step['pair']).matcher
    objects, metas = normalised(step)
    differs = False
    for ours, theirs in layers_of(step):
        expected = matcher(theirs, step['targets'], group_detr=13)
        matches = head._match(
            [ours], BatchObjects.of(objects, metas), metas, 13
        )
        found = matches.per_image(0)
        for count, mine, upstream in zip(COUNTS, found, expected):
            assert len(mine[0]) == 13 * min(count, NUM_QUERIES)
            assert torch.equal(torch.stack(mine), torch.stack(upstream))
        without = {k: v for k, v in theirs.items() if k != 'pred_keypoints'}
        boxes_alone = matcher(without, step['targets'], group_detr=13)
        differs |= any(
            not torch.equal(torch.stack(a), torch.stack(b))
            for a, b in zip(boxes_alone, expected)
        )
    assert differs, 'the keypoints do not matter'


def test_every_loss_term(step):
    """Fed the same outputs, every term is the same."""
    check_terms(step, step['losses'], step['targets'])


@pytest.mark.parametrize('channel', [0, 2])
def test_other_keypoints_are_noticed(step, channel):
    """The negative control: another place or visibility of one keypoint."""
    samples = [s.clone() for s in step['samples']]
    head = step['pair'].ours.bbox_head
    objects = samples[-1].gt_instances
    active = head.active_keypoints[objects.labels]
    i, k = (active & (objects.keypoints[..., 2] == 2)).nonzero()[0].tolist()
    objects.keypoints[i, k, channel] -= 1
    losses = our_losses(head, step['outs'], samples)
    with pytest.raises(AssertionError):
        check_terms(step, losses, step['targets'])


def test_batch_without_objects(step):
    images = step['pair'].images(seed=11, bs=3)
    targets, samples = targets_for(images, (0, 0, 0), task='keypoint')
    losses = our_losses(step['pair'].ours.bbox_head, step['outs'], samples)
    check_terms(step, losses, targets)
    assert losses['loss_keypoint_l1'] == losses['d1.loss_keypoint_nll'] == 0


def test_total_is_upstreams_weighted_total(exact_step):
    ours = sum(v for k, v in exact_step['losses'].items() if 'loss' in k)
    theirs = sum(exact_step['terms'].values())
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0.0)


def test_gradients_of_every_parameter(exact_step):
    ours, theirs = exact_step['our_grads'], exact_step['their_grads']
    without = {name for name, grad in ours.items() if grad is None}
    frozen = {
        name
        for name, p in exact_step['pair'].ours.named_parameters()
        if not p.requires_grad
    }
    assert without == frozen
    theirs = {k: v for k, v in theirs.items() if k in ours}
    assert set(ours) == set(theirs)
    errors = gradient_errors(
        ours, {k: v for k, v in theirs.items() if k not in frozen}
    )
    worst = max(errors, key=errors.get)
    print('worst gradient', worst, errors[worst])
    assert errors[worst] <= GRADIENT_TOLERANCE, (worst, errors[worst])


def test_gradients_notice_one_weight(exact_step):
    """The negative control of the gradient comparison."""
    name = 'bbox_head.decoder.keypoint_layers.0.fc1.weight'
    wrong = {name: exact_step['our_grads'][name].clone()}
    wrong[name].view(-1)[0] += 0.01 * wrong[name].norm()
    errors = gradient_errors(wrong, {name: exact_step['their_grads'][name]})
    assert errors[name] > GRADIENT_TOLERANCE
