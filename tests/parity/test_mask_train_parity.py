"""Training with masks: matching, losses and gradients at the same points.

Both sides draw their random points from the same seed. Images with H != W;
one has no objects, one has more objects than there are queries.
"""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from compare import END_TO_END, assert_stage, gradient_errors
from oracle import NUM_QUERIES
from train_step import (
    SEED,
    expected_names,
    in_float64,
    our_losses,
    outputs_of,
    run_step,
    targets_for,
    upstream_criterion,
    upstream_losses,
)

from rfdetr_mm.models.task_modules.batch_objects import BatchObjects

pytestmark = pytest.mark.parity

COUNTS = (3, 0, NUM_QUERIES + 4)
GRADIENT_TOLERANCE = 1e-6
LOSS = dict(rtol=1e-5, atol=0.0)


@pytest.fixture(scope='session')
def step(any_seg_pair):
    return run_step(any_seg_pair, torch.float32, COUNTS)


@pytest.fixture(scope='session')
def exact_step(any_seg_pair):
    """The step in float64: the same most uncertain points on both sides."""
    with in_float64(any_seg_pair) as pair:
        result = run_step(pair, torch.float64, COUNTS)
    return result


def test_outputs_of_all_groups(step):
    outputs = step['outputs']
    expected = [outputs, *outputs['aux_outputs'], outputs['enc_outputs']]
    head = step['pair'].ours.bbox_head
    layers = head._supervised_layers(step['outs'])
    for ours, theirs in zip(layers.values(), expected, strict=True):
        assert_stage(
            ours.cls_scores, theirs['pred_logits'][..., :-1], **END_TO_END
        )
        assert_stage(ours.bbox_preds, theirs['pred_boxes'], **END_TO_END)
        for name, tensor in theirs['pred_masks'].items():
            name = name.replace('spatial', 'mask')
            assert_stage(getattr(ours.masks, name), tensor, **END_TO_END)


def layers_of(step):
    """Our layers and the same in upstream's form, in upstream's order."""
    head = step['pair'].ours.bbox_head
    theirs = outputs_of(head, step['outs'])
    ours = list(head._supervised_layers(step['outs']).values())
    return zip(
        ours,
        (theirs, *theirs['aux_outputs'], theirs['enc_outputs']),
        strict=True,
    )


def instances_of(step):
    """Objects with their masks as tensors, and meta data."""
    objects = [s.gt_instances.clone() for s in step['samples']]
    for gt_instances, target in zip(objects, step['targets']):
        gt_instances.masks = target['masks']
    return objects, [s.metainfo for s in step['samples']]


@torch.no_grad()
def test_mask_costs(step):
    """Cross-entropy and dice, each with its weight of 5."""
    head = step['pair'].ours.bbox_head
    matcher = upstream_criterion(step['pair']).matcher
    objects, metas = instances_of(step)
    for ours, theirs in layers_of(step):
        torch.manual_seed(SEED)
        expected = matcher._compute_mask_costs(theirs, step['targets'])
        torch.manual_seed(SEED)
        pairs = head._match_instances(ours, objects, metas)
        torch.manual_seed(SEED + 1)
        others = head._match_instances(ours, objects, metas)
        for cost, match_cost in zip(expected, head.assigner.match_costs[3:]):
            columns = cost.view(len(COUNTS), -1, sum(COUNTS)).split(COUNTS, 2)
            for i, (preds, gts) in enumerate(pairs):
                found = match_cost(preds, gts)
                assert_stage(found, 5.0 * columns[i][i])
                if COUNTS[i]:  # the negative control: other points
                    assert (match_cost(*others[i]) - found).abs().max() > 1e-3


@torch.no_grad()
def test_assignment(step):
    """Every object of an image, or every query of a group, is matched."""
    head = step['pair'].ours.bbox_head
    matcher = upstream_criterion(step['pair']).matcher
    objects, metas = instances_of(step)
    differs = False
    for ours, theirs in layers_of(step):
        torch.manual_seed(SEED)
        expected = matcher(theirs, step['targets'], group_detr=13)
        torch.manual_seed(SEED)
        matches = head._match(
            [ours], BatchObjects.of(objects, metas), metas, 13
        )
        found = matches.per_image(0)
        for count, mine, upstream in zip(COUNTS, found, expected):
            assert len(mine[0]) == 13 * min(count, NUM_QUERIES)
            assert torch.equal(torch.stack(mine), torch.stack(upstream))
        without = {k: v for k, v in theirs.items() if k != 'pred_masks'}
        targets = [
            {k: v for k, v in t.items() if k != 'masks'}
            for t in step['targets']
        ]
        boxes_alone = matcher(without, targets, group_detr=13)
        differs |= any(
            not torch.equal(torch.stack(a), torch.stack(b))
            for a, b in zip(boxes_alone, expected)
        )
    assert differs, 'the masks do not matter'


def check_terms(step, losses, targets):
    """Compare our losses with upstream's of the same outputs."""
    head = step['pair'].ours.bbox_head
    terms, logged = upstream_losses(
        step['pair'], outputs_of(head, step['outs']), targets
    )
    names = expected_names(head)
    assert set(names) == {k for k in losses if 'loss' in k}
    assert set(names.values()) == set(terms)
    for ours, theirs in names.items():
        torch.testing.assert_close(losses[ours], terms[theirs], **LOSS)
    for name in ('class_error', 'cardinality_error'):
        torch.testing.assert_close(
            losses[name], logged[name].to(losses[name]), rtol=1e-5, atol=1e-5
        )


def test_every_loss_term(step):
    """Fed the same outputs, every term is the same."""
    check_terms(step, step['losses'], step['targets'])


def test_other_points_are_noticed(step, monkeypatch):
    """The negative control: other draws give other mask losses."""
    head = step['pair'].ours.bbox_head
    monkeypatch.setattr('train_step.SEED', SEED + 1)
    losses = our_losses(head, step['outs'], step['samples'])
    names = [n for n in losses if n.endswith(('loss_mask', 'loss_dice'))]
    noticed = [
        name
        for name in names
        if not torch.isclose(losses[name], step['losses'][name], **LOSS)
    ]
    assert len(noticed) > len(names) / 2, noticed


def test_batch_without_objects(step):
    images = step['pair'].images(seed=11, bs=3)
    targets, samples = targets_for(
        images, (0, 0, 0), task='instance segmentation'
    )
    losses = our_losses(step['pair'].ours.bbox_head, step['outs'], samples)
    check_terms(step, losses, targets)
    assert losses['loss_mask'] == losses['d1.loss_dice'] == 0


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
    assert all(theirs[name].norm() == 0 for name in frozen)
    assert set(ours) == set(theirs)
    errors = gradient_errors(
        ours, {k: v for k, v in theirs.items() if k not in frozen}
    )
    worst = max(errors, key=errors.get)
    print('worst gradient', worst, errors[worst])
    assert errors[worst] <= GRADIENT_TOLERANCE, (worst, errors[worst])


def test_gradients_notice_one_weight(exact_step):
    """The negative control of the gradient comparison."""
    name = 'bbox_head.mask_branch.blocks.0.depthwise.weight'
    wrong = {name: exact_step['our_grads'][name].clone()}
    wrong[name].view(-1)[0] += 0.01 * wrong[name].norm()
    errors = gradient_errors(wrong, {name: exact_step['their_grads'][name]})
    assert errors[name] > GRADIENT_TOLERANCE
