"""Values and gradients of a function, to compare with another's."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor


def with_gradients(
    function: Callable[..., Tensor], arguments: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What it returns, and the gradients of a weighted sum of it."""
    out = function(*arguments)
    weights = torch.arange(out.numel(), dtype=out.dtype).view_as(out)
    return out, torch.autograd.grad((out * weights.sin()).sum(), arguments)


def random_inputs(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Normal tensors in float64 that require gradients."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(
            s, generator=generator, dtype=torch.float64
        ).requires_grad_()
        for s in shapes
    ]


def calls_of(
    function: type[torch.autograd.Function], monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """A list that gets an entry whenever the function is applied."""
    calls: list[int] = []
    apply = function.apply
    monkeypatch.setattr(
        function, 'apply', lambda *x: calls.append(len(x)) or apply(*x)
    )
    return calls
