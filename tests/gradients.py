"""Values and gradients of a function, to compare with another's."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def with_gradients(
    function: Callable[..., Tensor], arguments: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What it returns, and the gradients of a weighted sum of it."""
    out = function(*arguments)
    weights = torch.arange(out.numel(), dtype=out.dtype).view_as(out)
    return out, torch.autograd.grad((out * weights.sin()).sum(), arguments)


def random_inputs(
    seed: int, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Normal tensors that require gradients."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(s, generator=generator, dtype=dtype).requires_grad_()
        for s in shapes
    ]
