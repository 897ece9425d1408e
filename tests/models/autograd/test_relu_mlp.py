"""An MLP in pieces: values and gradients of the plain layers."""

import pytest
import torch
from mmcv.cnn.bricks.transformer import FFN
from torch import nn

from rfdetr_mm.models.autograd import relu_mlp as module
from rfdetr_mm.models.autograd.relu_mlp import relu_mlp
from rfdetr_mm.models.layers.decoder import RFDETRDecoderLayer
from rfdetr_mm.models.layers.decoder_memory import build_memory
from tests.gradients import calls_of, random_inputs, with_gradients
from tests.kept_shapes import kept_shapes

CHANNELS, HIDDEN, OUT = 6, 20, 5


@pytest.fixture(autouse=True)
def few_rows_at_once(monkeypatch):
    monkeypatch.setattr(module, 'ROWS_AT_ONCE', 4)


def build(num_layers):
    torch.manual_seed(num_layers)
    widths = [CHANNELS] + [HIDDEN] * (num_layers - 1) + [OUT]
    pairs = zip(widths, widths[1:])
    return nn.ModuleList(nn.Linear(*pair) for pair in pairs).double()


def rows_of(num_rows):
    return random_inputs(num_rows, (num_rows, CHANNELS))[0]


def plain(x, layers):
    x = layers[0](x)
    for layer in layers[1:]:
        x = layer(x.relu())
    return x


@pytest.mark.parametrize('num_layers', [1, 2, 3])
@pytest.mark.parametrize('num_rows', [0, 1, 4, 10])
def test_values_and_gradients(num_layers, num_rows):
    layers, rows = build(num_layers), rows_of(num_rows)
    leaves = [rows, *layers.parameters()]
    torch.testing.assert_close(
        with_gradients(lambda *_: relu_mlp(rows, layers), leaves),
        with_gradients(lambda *_: plain(rows, layers), leaves),
    )


def test_gradients_by_differences():
    layers = build(3)
    assert torch.autograd.gradcheck(
        lambda rows, *_: relu_mlp(rows, layers),
        [rows_of(5), *layers.parameters()],
    )


def test_any_rows():
    layers, rows = build(2), rows_of(6)
    torch.testing.assert_close(
        relu_mlp(rows.view(2, 3, CHANNELS), layers),
        plain(rows, layers).view(2, 3, OUT),
    )


def test_frozen_weights():
    layers, rows = build(2).requires_grad_(False), rows_of(5)
    relu_mlp(rows, layers).sum().backward()
    assert rows.grad is not None
    assert all(weight.grad is None for weight in layers.parameters())


@pytest.mark.needs_torch('2.3', 'own backward passes')
def test_hidden_channels_are_kept_once():
    layers, rows = build(2), rows_of(10)
    with kept_shapes() as kept:
        relu_mlp(rows, layers)
    hidden = [shape for shape in kept if shape[1:] == (HIDDEN,)]
    assert hidden.count((OUT, HIDDEN)) == 1  # the second layer's weights
    assert hidden.count((4, HIDDEN)) == 2 and (2, HIDDEN) in hidden
    assert len(hidden) == 4


@pytest.mark.needs_torch('2.3', 'own backward passes')
@pytest.mark.parametrize('where', ['training', 'autocast', 'no_grad'])
def test_where_it_is_taken(monkeypatch, where):
    layers, rows = build(2).float(), rows_of(10).float()
    taken = calls_of(module._ReluMLP, monkeypatch)
    with (
        torch.autocast('cpu', torch.bfloat16, enabled=where == 'autocast'),
        torch.set_grad_enabled(where != 'no_grad'),
    ):
        found = relu_mlp(rows, layers)
        assert found.dtype == layers[0](rows).dtype
    assert bool(taken) is (where == 'training')
    if where != 'autocast':
        torch.testing.assert_close(found, plain(rows, layers))


def test_a_decoder_layer_feeds_forward_as_its_ffn():
    torch.manual_seed(0)
    layer = RFDETRDecoderLayer(8, 1, 2, 2, 1, HIDDEN)
    assert isinstance(layer.ffn, FFN)
    memory = build_memory([torch.randn(2, 8, 3, 4)])
    seen = []
    layer.norms[2].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    layer.norms[1].register_forward_hook(lambda *x: seen.append(x[2]))
    layer(*torch.randn(2, 2, 6, 8), torch.rand(2, 6, 1, 4), memory, 2)
    attended, fed_forward = seen
    torch.testing.assert_close(fed_forward, layer.ffn(attended))
