"""Train mode, 13 groups: outputs, losses and every gradient.

Targets lie in images with H != W, one image has no objects.
"""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from compare import END_TO_END, assert_stage, gradient_errors
from train_step import (
    expected_names,
    in_float64,
    outputs_of,
    run_step,
    upstream_losses,
)

pytestmark = pytest.mark.parity

GRADIENT_TOLERANCE = 1e-6
LOSS_TOLERANCE = 1e-5


@pytest.fixture(scope='session')
def step(any_pair):
    return run_step(any_pair, torch.float32)


@pytest.fixture(scope='session')
def exact_step(any_pair):
    with in_float64(any_pair) as pair:
        result = run_step(pair, torch.float64)
    return result


def test_outputs_of_all_groups(step):
    outputs, outs = step['outputs'], step['outs']
    assert outs.num_groups == 13
    layers = [*outputs['aux_outputs'], outputs]
    for i, layer in enumerate(layers):
        assert_stage(
            outs.cls_scores[i], layer['pred_logits'][..., :-1], **END_TO_END
        )
        assert_stage(outs.bbox_preds[i], layer['pred_boxes'], **END_TO_END)


def test_groups_differ(step):
    """The negative control: group 1 must not pass for group 0."""
    queries = step['outs'].cls_scores.shape[2] // 13
    scores = step['outputs']['pred_logits'][..., :-1]
    with pytest.raises(AssertionError):
        assert_stage(
            step['outs'].cls_scores[-1][:, queries : 2 * queries],
            scores[:, :queries],
            **END_TO_END,
        )


def test_every_loss_term(step):
    """Fed the same outputs, every term is the same."""
    pair = step['pair']
    head = pair.ours.bbox_head
    terms, logged = upstream_losses(
        pair, outputs_of(head, step['outs']), step['targets']
    )
    losses = step['losses']
    names = expected_names(head)
    assert set(names) == {k for k in losses if 'loss' in k}
    assert set(names.values()) == set(terms)
    for ours, theirs in names.items():
        torch.testing.assert_close(
            losses[ours], terms[theirs], rtol=LOSS_TOLERANCE, atol=0.0
        )
    for name in ('class_error', 'cardinality_error'):
        torch.testing.assert_close(
            losses[name], logged[name].to(losses[name]), rtol=1e-5, atol=1e-5
        )


def test_total_is_upstreams_weighted_total(step):
    ours = sum(v for k, v in step['losses'].items() if 'loss' in k)
    theirs = sum(step['terms'].values())
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=0.0)


def test_gradients_of_every_parameter(exact_step):
    errors = gradient_errors(
        {
            name: torch.zeros_like(exact_step['their_grads'][name])
            if grad is None
            else grad
            for name, grad in exact_step['our_grads'].items()
        },
        exact_step['their_grads'],
    )
    frozen = {
        name
        for name, p in exact_step['pair'].ours.named_parameters()
        if not p.requires_grad
    }
    assert all(exact_step['their_grads'][name].norm() == 0 for name in frozen)
    assert set(errors) == set(exact_step['our_grads'])
    worst = max(errors, key=errors.get)
    print('worst gradient', worst, errors[worst])
    assert errors[worst] <= GRADIENT_TOLERANCE, (worst, errors[worst])


def test_gradients_notice_one_weight(exact_step):
    """The negative control of the gradient comparison."""
    name = 'neck.fusions.0.expand.conv.weight'
    wrong = {name: exact_step['our_grads'][name].clone()}
    wrong[name].view(-1)[0] += 0.01 * wrong[name].norm()
    errors = gradient_errors(wrong, {name: exact_step['their_grads'][name]})
    assert errors[name] > GRADIENT_TOLERANCE


def test_frozen_tensors_of_base(step):
    """Kept but never run: mask_token and the blocks after the last tap."""
    frozen = [
        name
        for name, p in step['pair'].ours.named_parameters()
        if not p.requires_grad
    ]
    last = step['pair'].ours.backbone.out_indices[-1]
    assert len(frozen) == 1 + 18 * (11 - last)
