"""The MLP in little memory: values and gradients of the plain layers."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN

from rfdetr_mm.models.layers import relu_mlp as module
from rfdetr_mm.models.layers.decoder import RFDETRDecoderLayer
from rfdetr_mm.models.layers.relu_mlp import relu_mlp
from tests.gradients import random_inputs, with_gradients
from tests.kept_shapes import kept_shapes

CHANNELS, HIDDEN, OUT = 6, 20, 5


@pytest.fixture(autouse=True)
def few_rows_at_once(monkeypatch):
    monkeypatch.setattr(module, 'ROWS_AT_ONCE', 4)


def inputs(num_rows):
    weights = [(HIDDEN, CHANNELS), (HIDDEN,), (OUT, HIDDEN), (OUT,)]
    return random_inputs(num_rows, (num_rows, CHANNELS), *weights)


def plain(rows, weight1, bias1, weight2, bias2):
    return F.linear(F.relu(F.linear(rows, weight1, bias1)), weight2, bias2)


@pytest.mark.parametrize('num_rows', [0, 1, 4, 10])
def test_values_and_gradients(num_rows):
    arguments = inputs(num_rows)
    torch.testing.assert_close(
        with_gradients(relu_mlp, arguments), with_gradients(plain, arguments)
    )


def test_gradients_by_differences():
    assert torch.autograd.gradcheck(relu_mlp, inputs(5))


def test_frozen_weights():
    arguments = inputs(5)
    for weight in arguments[1:]:
        weight.requires_grad_(False)
    out = relu_mlp(*arguments)
    out.sum().backward()
    assert arguments[0].grad is not None and arguments[1].grad is None


def test_hidden_channels_are_kept_once():
    arguments = inputs(10)
    with kept_shapes() as kept:
        relu_mlp(*arguments)
    hidden = [shape for shape in kept if shape[1:] == (HIDDEN,)]
    assert hidden.count((OUT, HIDDEN)) == 1  # the second layer's weights
    assert sum(shape[0] for shape in hidden) == OUT + 10


@pytest.mark.needs_torch('2.3', 'MLPs in parts')
@pytest.mark.parametrize('autocast', [False, True])
def test_a_decoder_layer_takes_it_in_training(monkeypatch, autocast):
    """Not without gradients, and not in mixed precision."""
    torch.manual_seed(0)
    layer = RFDETRDecoderLayer(CHANNELS, 1, 2, 2, 1, HIDDEN)
    assert isinstance(layer.ffn, FFN)
    taken = []
    monkeypatch.setattr(
        'rfdetr_mm.models.layers.decoder.relu_mlp',
        lambda *args: taken.append(1) or relu_mlp(*args),
    )
    query = torch.randn(2, 7, CHANNELS, requires_grad=True)
    expected = layer.ffn(query)
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        found = layer._feed_forward(query)
    assert bool(taken) is not autocast
    if not autocast:
        torch.testing.assert_close(found, expected)
        weights = [*layer.ffn.parameters()]
        torch.testing.assert_close(
            torch.autograd.grad(found.square().sum(), weights),
            torch.autograd.grad(expected.square().sum(), weights),
        )
    taken.clear()
    with torch.no_grad():
        torch.testing.assert_close(layer._feed_forward(query), expected)
    assert not taken
