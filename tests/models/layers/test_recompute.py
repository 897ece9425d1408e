"""Recomputed functions have the values and gradients of plain calls."""

import pytest
import torch
from torch import Tensor, nn

from rfdetr_mm.models.layers import recompute as recompute_module
from rfdetr_mm.models.layers.recompute import recompute, recompute_by_parts

ROWS, CHANNELS = 10, 6  # ten rows do not divide into four parts


@pytest.fixture
def layer() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(CHANNELS, 32), nn.GELU(), nn.Linear(32, CHANNELS)
    )


def gradients(layer: nn.Module, call, rows: Tensor) -> list[Tensor]:
    """Result, gradient of the rows, gradients of the weights."""
    rows = rows.clone().requires_grad_()
    out = call(rows)
    layer.zero_grad()
    (out * torch.arange(out.numel()).view_as(out)).sum().backward()
    weights = [p.grad.clone() for p in layer.parameters()]
    return [out.detach(), rows.grad, *weights]


def test_a_recomputed_function_is_the_plain_one(layer: nn.Module) -> None:
    rows = torch.randn(ROWS, CHANNELS)
    plain = gradients(layer, layer, rows)
    again = gradients(layer, lambda x: recompute(layer, x), rows)
    torch.testing.assert_close(again, plain, rtol=0, atol=0)


@pytest.mark.parametrize('num_rows', [ROWS, 8, 2, 1])
def test_a_function_by_parts_is_the_plain_one(
    layer: nn.Module, num_rows: int
) -> None:
    rows = torch.randn(num_rows, CHANNELS)
    plain = gradients(layer, layer, rows)
    parts = gradients(layer, lambda x: recompute_by_parts(layer, x), rows)
    torch.testing.assert_close(parts, plain)


def test_random_numbers_are_the_same_in_both_passes() -> None:
    rows = torch.ones(ROWS, CHANNELS, requires_grad=True)
    torch.manual_seed(0)
    out = recompute(lambda x: nn.functional.dropout(x, 0.5) ** 2, rows)
    out.sum().backward()
    # 2 (x / 0.5)**2 / x of what was kept, 0 of the rest
    torch.testing.assert_close(rows.grad, 2 * out.detach())


@pytest.mark.parametrize('call', [recompute, recompute_by_parts])
def test_only_the_inputs_are_kept(layer: nn.Module, call) -> None:
    own = {p.data_ptr() for p in layer.parameters()}
    kept = []

    def keep(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in own:
            kept.append(tuple(x.shape))
        return x

    rows = torch.randn(8, CHANNELS, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        layer(rows)
        hidden = [shape for shape in kept if shape[-1:] == (32,)]
        assert hidden  # the control: a plain call keeps them
        kept.clear()
        call(layer, rows)
    assert not [shape for shape in kept if shape[-1:] == (32,)]


@pytest.mark.parametrize('call', [recompute, recompute_by_parts])
def test_without_gradients_it_is_called_once(call) -> None:
    calls = []

    def function(x: Tensor) -> Tensor:
        calls.append(x.shape)
        return x

    call(function, torch.ones(8, CHANNELS))
    with torch.no_grad():
        call(function, torch.ones(8, CHANNELS, requires_grad=True))
    assert calls == [(8, CHANNELS)] * 2


@pytest.mark.parametrize('call', [recompute, recompute_by_parts])
@pytest.mark.parametrize('where', ['compiled', 'on a GPU', 'here'])
def test_where_nothing_is_computed_again(monkeypatch, call, where) -> None:
    class OnGpu(Tensor):
        is_cuda = True

    rows = torch.ones(8, CHANNELS, requires_grad=True)
    if where == 'compiled':
        monkeypatch.setattr(recompute_module, 'is_compiling', lambda: True)
    elif where == 'on a GPU':
        rows = rows.as_subclass(OnGpu)
    calls = []

    def function(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x.square()

    call(function, rows).sum().backward()
    once = [8] if call is recompute else [2] * 4
    assert calls == (once * 2 if where == 'here' else [8])
