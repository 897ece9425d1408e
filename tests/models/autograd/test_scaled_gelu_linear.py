"""GELU and layer in one function: values and gradients of the plain ones."""

import pytest
import torch
import torch.nn.functional as F

from rfdetr_mm.models.autograd import scaled_gelu_linear as module
from rfdetr_mm.models.autograd.scaled_gelu_linear import scaled_gelu_linear
from rfdetr_mm.models.layers.dinov2_block import DINOv2MLP
from tests.gradients import calls_of, random_inputs, with_gradients
from tests.kept_shapes import kept_shapes

HIDDEN, OUT = 6, 4


def inputs(*rows):
    layer = (OUT, HIDDEN), (OUT,), (OUT,)
    return random_inputs(len(rows), (*rows, HIDDEN), *layer)


def plain(hidden, weight, bias, scale):
    return F.linear(F.gelu(hidden), weight, bias) * scale


@pytest.fixture
def calls(monkeypatch):
    """How often the function with its own backward pass was taken."""
    return calls_of(module._ScaledGeluLinear, monkeypatch)


@pytest.mark.parametrize('rows', [(0,), (5,), (2, 3), (2, 3, 2)])
def test_values_and_gradients(rows):
    arguments = inputs(*rows)
    torch.testing.assert_close(
        with_gradients(scaled_gelu_linear, arguments),
        with_gradients(plain, arguments),
    )


def test_gradients_by_differences():
    assert torch.autograd.gradcheck(scaled_gelu_linear, inputs(2, 3))


@pytest.mark.parametrize('trained', [(0,), (1,), (2,), (3,), (0, 2), (1, 3)])
def test_some_of_the_inputs_are_frozen(trained):
    arguments, others = inputs(5), inputs(5)
    for one in (arguments, others):
        for i, tensor in enumerate(one):
            tensor.requires_grad_(i in trained)
    scaled_gelu_linear(*arguments).sum().backward()
    plain(*others).sum().backward()
    for i, (found, expected) in enumerate(zip(arguments, others)):
        assert (found.grad is not None) is (i in trained)
        torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize('gradients', [False, True])
def test_only_without_gradients_is_the_input_overwritten(gradients):
    hidden, *layer = [x.detach() for x in inputs(5)]
    given, expected = hidden.clone(), plain(hidden, *layer)
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(
            scaled_gelu_linear(hidden, *layer), expected
        )
    after = given if gradients else F.gelu(given)
    torch.testing.assert_close(hidden, after, rtol=0, atol=0)


@pytest.mark.needs_torch('2.3', 'own backward passes')
def test_only_the_inputs_are_kept():
    arguments = inputs(5)
    with kept_shapes() as kept:
        plain(*arguments)
        assert kept.count((5, HIDDEN)) == 2  # the control
        kept.clear()
        scaled_gelu_linear(*arguments)
    assert sorted(kept) == sorted(tuple(x.shape) for x in arguments)


@pytest.mark.needs_torch('2.3', 'own backward passes')
@pytest.mark.parametrize('autocast', [False, True])
def test_an_mlp_takes_it_in_training(calls, autocast):
    """Not without gradients, and not in mixed precision."""
    torch.manual_seed(0)
    mlp, scale = DINOv2MLP(OUT, HIDDEN), torch.randn(OUT, requires_grad=True)
    tokens = torch.randn(2, 3, OUT, requires_grad=True)
    expected = mlp.fc2(F.gelu(mlp.fc1(tokens))) * scale
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        found = mlp(tokens, scale)
    assert bool(calls) is not autocast
    if not autocast:
        torch.testing.assert_close(found, expected)
        leaves = [tokens, scale, *mlp.parameters()]
        torch.testing.assert_close(
            torch.autograd.grad(found.square().sum(), leaves),
            torch.autograd.grad(expected.square().sum(), leaves),
        )
    calls.clear()
    with torch.no_grad():
        torch.testing.assert_close(mlp(tokens, scale), expected)
    assert not calls
