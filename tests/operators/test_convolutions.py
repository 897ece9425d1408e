"""Deformable and masked convolutions."""

import pytest
import torch
import torch.nn.functional as F

from rfdetr_mm.operators import convolutions
from tests.operators.golden_cases import (
    Numbers,
    convolution_cases,
    with_gradients,
)


@pytest.mark.parametrize(
    'table, name',
    [
        (table, name)
        for table in ('plain', 'modulated')
        for name in convolution_cases(table)
    ],
)
def test_equals_compiled_mmcv(agrees_with_compiled, table, name):
    agrees_with_compiled(table, name)


@pytest.mark.parametrize('frozen', [(), (0,), (1,), (2,), (0, 1), (0, 2)])
def test_gradients_of_what_is_not_frozen(ops, frozen):
    """mmcv asks for them in one call or two; the sums do not change."""
    numbers = Numbers(0, torch.float64)
    inputs = [
        numbers.normal(2, 2, 5, 6),
        numbers.normal(2, 18, 5, 6),
        numbers.normal(3, 2, 3, 3),
    ]
    wanted = [i for i in range(3) if i not in frozen]
    everything = with_gradients(
        lambda x, o, w: ops.deform_conv2d(x, o, w, 1, 1), *inputs
    )

    def some(*leaves):
        given = list(inputs)
        for i, leaf in zip(wanted, leaves, strict=True):
            given[i] = leaf
        return ops.deform_conv2d(*given, 1, 1)

    found = with_gradients(some, *(inputs[i] for i in wanted))
    for gradient, i in zip(found[1:], wanted, strict=True):
        assert torch.equal(gradient, everything[1 + i])


def test_two_backward_passes_of_one_forward_pass(ops):
    """What the first left in mmcv's buffer is not of the second."""
    numbers = Numbers(1, torch.float64)
    leaves = [
        numbers.normal(1, 2, 5, 6).requires_grad_(),
        numbers.normal(1, 18, 5, 6).requires_grad_(),
        numbers.normal(3, 2, 3, 3).requires_grad_(),
    ]
    result = ops.deform_conv2d(*leaves, 1, 1)
    gradient = numbers.normal(*result.shape)
    first = torch.autograd.grad(result, leaves, gradient, retain_graph=True)
    second = torch.autograd.grad(result, leaves, 2 * gradient)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(2 * a, b)


def test_one_computation_of_the_gradients(ops, monkeypatch):
    calls = []
    backward = convolutions._backward

    def count(*args):
        calls.append(args)
        return backward(*args)

    monkeypatch.setattr(convolutions, '_backward', count)
    numbers = Numbers(1)
    with_gradients(
        lambda x, o, w: ops.deform_conv2d(x, o, w, 1, 1),
        numbers.normal(1, 2, 5, 6),
        numbers.normal(1, 18, 5, 6),
        numbers.normal(3, 2, 3, 3),
    )
    assert len(calls) == 1


def test_without_offsets_it_is_a_convolution(ops):
    numbers = Numbers(2)
    features, weight = numbers.normal(2, 4, 7, 9), numbers.normal(6, 2, 3, 3)
    offset = torch.zeros(2, 18, 4, 5)
    expected = F.conv2d(features, weight, None, 2, 1, 1, 2)
    found = ops.deform_conv2d(features, offset, weight, 2, 1, 1, 2)
    torch.testing.assert_close(found, expected)
    bias, mask = numbers.normal(6), torch.full((2, 9, 4, 5), 0.5)
    found = ops.modulated_deform_conv2d(
        features, offset, mask, weight, bias, 2, 1, 1, 2
    )
    torch.testing.assert_close(found, expected / 2 + bias[:, None, None])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(ops, dtype):
    numbers = Numbers(3)
    inputs = [
        numbers.normal(1, 2, 5, 6),
        numbers.normal(1, 18, 5, 6),
        numbers.normal(1, 9, 5, 6),
        numbers.normal(3, 2, 3, 3),
        numbers.normal(3),
    ]

    def run(*leaves):
        return ops.modulated_deform_conv2d(*leaves, 1, 1)

    low = [value.to(dtype) for value in inputs]
    found = with_gradients(run, *low)
    expected = with_gradients(run, *(value.float() for value in low))
    for value, right in zip(found, expected, strict=True):
        assert value.dtype == dtype
        # Both are rounded to about 3 digits, the gradient given as well.
        error = (value.float() - right).norm() / right.norm()
        assert error < 0.01


@pytest.mark.parametrize(
    'kernel, padding', [((3, 3), (1, 1)), ((1, 5), (0, 2))]
)
def test_masked_convolution(ops, kernel, padding):
    numbers = Numbers(4)
    features, bias = numbers.normal(1, 4, 7, 9), numbers.normal(6)
    weight = numbers.normal(6, 4, *kernel)
    mask = (numbers.uniform(1, 7, 9) > 0.6).float()
    found = ops.masked_conv2d(features, mask, weight, bias, padding)
    everywhere = F.conv2d(features, weight, bias, padding=padding)
    torch.testing.assert_close(found, everywhere * mask)
    none = ops.masked_conv2d(features, mask * 0, weight, bias, padding)
    assert not none.any()
