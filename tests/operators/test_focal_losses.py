"""Focal losses."""

import pytest
import torch
import torch.nn.functional as F

from tests.operators.golden_cases import Numbers, with_gradients

CLASSES = 5


def case(dtype=torch.float64, background=True):
    numbers = Numbers(0, dtype)
    logits = numbers.normal(12, CLASSES, scale=3)
    targets = numbers.integers(12, CLASSES + background)
    return logits, targets, numbers.uniform(CLASSES)


def sigmoid_by_hand(logits, targets, gamma, alpha, weight):
    """With logarithms that do not stop."""
    hot = F.one_hot(targets, CLASSES + 1)[:, :CLASSES].to(logits)
    p = logits.sigmoid()
    right = hot * p + (1 - hot) * (1 - p)
    scale = hot * alpha + (1 - hot) * (1 - alpha)
    cross = F.binary_cross_entropy_with_logits(logits, hot, reduction='none')
    loss = scale * (1 - right) ** gamma * cross
    if weight is not None:
        loss = loss * torch.cat([weight, weight.new_ones(1)])[targets, None]
    return loss


@pytest.mark.parametrize('reduction', ['none', 'sum', 'mean'])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (1.5, 0.5), (0.0, 1.0)])
def test_sigmoid(ops, gamma, alpha, weighted, reduction):
    logits, targets, weight = case()
    weight = weight if weighted else None

    def reduced(x):
        loss = sigmoid_by_hand(x, targets, gamma, alpha, weight)
        total = loss if reduction == 'none' else loss.sum()
        return total / len(x) if reduction == 'mean' else total

    found = with_gradients(
        lambda x: ops.sigmoid_focal_loss(
            x, targets, gamma, alpha, weight, reduction
        ),
        logits,
    )
    for value, right in zip(found, with_gradients(reduced, logits)):
        torch.testing.assert_close(value, right)


def softmax_by_hand(logits, targets, gamma, alpha, weight):
    log_p = logits.log_softmax(1).gather(1, targets[:, None])[:, 0]
    loss = -alpha * (1 - log_p.exp()) ** gamma * log_p
    return loss if weight is None else loss * weight[targets]


@pytest.mark.parametrize('reduction', ['sum', 'mean'])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (1.5, 0.5)])
def test_softmax(ops, gamma, alpha, weighted, reduction):
    """Without a reduction mmcv's backward pass refuses its own shapes."""
    logits, targets, weight = case(background=False)
    weight = weight if weighted else None

    def reduced(x):
        loss = softmax_by_hand(x, targets, gamma, alpha, weight)
        return getattr(loss, reduction)()

    found = with_gradients(
        lambda x: ops.softmax_focal_loss(
            x, targets, gamma, alpha, weight, reduction
        ),
        logits,
    )
    for value, right in zip(found, with_gradients(reduced, logits)):
        torch.testing.assert_close(value, right)


def test_softmax_ignores_rows_without_a_class(ops):
    logits, targets, _ = case(background=False)
    ignored = targets.clone()
    ignored[3] = -1
    loss, gradient = with_gradients(
        lambda x: ops.softmax_focal_loss(x, ignored, 2.0, 0.25, None, 'sum'),
        logits,
    )
    kept = torch.arange(12) != 3
    expected = softmax_by_hand(logits, targets, 2.0, 0.25, None)[kept].sum()
    torch.testing.assert_close(loss, expected)
    assert not gradient[3].any() and gradient[kept].any(1).all()


def test_logarithms_stop_as_in_mmcv(ops):
    """A float32 that is wrong beyond doubt: -log of the least one, 87.3."""
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(
        logits, torch.tensor([0]), 2.0, 0.25, None, 'none'
    )
    expected = torch.tensor([[0.25 * 87.3365, 0.75 * 87.3365]])
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_no_rows(ops):
    loss, gradient = with_gradients(
        lambda x: ops.sigmoid_focal_loss(
            x, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum'
        ),
        torch.zeros(0, CLASSES),
    )
    assert loss == 0 and gradient.shape == (0, CLASSES)
