"""Recomputed functions have the values and gradients of plain calls."""

import pytest
import torch
from torch import Tensor, nn

from rfdetr_mm.models.autograd import recompute as recompute_module
from rfdetr_mm.models.autograd.recompute import (
    has_own_backward,
    recompute,
    recomputes,
)
from rfdetr_mm.stack import TELLS_COMPILING

ROWS, CHANNELS = 10, 6


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


def test_random_numbers_are_the_same_in_both_passes() -> None:
    rows = torch.ones(ROWS, CHANNELS, requires_grad=True)
    torch.manual_seed(0)
    out = recompute(lambda x: nn.functional.dropout(x, 0.5) ** 2, rows)
    out.sum().backward()
    # 2 (x / 0.5)**2 / x of what was kept, 0 of the rest
    torch.testing.assert_close(rows.grad, 2 * out.detach())


def test_only_the_inputs_are_kept(layer: nn.Module) -> None:
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
        recompute(layer, rows)
    assert not [shape for shape in kept if shape[-1:] == (32,)]


def test_without_gradients_it_is_called_once() -> None:
    calls = []

    def function(x: Tensor) -> Tensor:
        calls.append(x.shape)
        return x

    recompute(function, torch.ones(8, CHANNELS))
    with torch.no_grad():
        recompute(function, torch.ones(8, CHANNELS, requires_grad=True))
    assert calls == [(8, CHANNELS)] * 2


@pytest.mark.parametrize('where', ['compiled', 'on a GPU', 'here'])
def test_where_nothing_is_computed_again(monkeypatch, where) -> None:
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

    assert recomputes([rows, None]) is (where == 'here')
    assert has_own_backward([rows, None]) is (
        where == 'here' and TELLS_COMPILING
    )
    recompute(function, rows).sum().backward()
    assert calls == [8] * (2 if where == 'here' else 1)


def test_no_own_backward_in_mixed_precision() -> None:
    rows = torch.ones(8, CHANNELS, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        assert not has_own_backward([rows]) and recomputes([rows])
