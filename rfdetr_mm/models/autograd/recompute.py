"""Trading a little time of the backward pass for memory."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rfdetr_mm.stack import TELLS_COMPILING, is_autocast, is_compiling


def recompute(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """Call a function; keep only its inputs for the backward pass.

    What the function computes in between is computed again when its gradient
    is due, up to the last thing that is needed: a matrix product at the end
    is not repeated. Values and gradients are those of a plain call. Without
    gradients it is a plain call. So it is in ``torch.compile``, which decides
    on its own what to compute again, and on a GPU, where launching the
    kernels once more costs a quarter of a step.

    Args:
        function: Deterministic but for torch's random numbers. A method or a
            function: torch 2.1 compiles no modules and partials here.
        *inputs: What it takes, tensors and others.

    Returns:
        What it returns.

    Source: "Training Deep Nets with Sublinear Memory Cost"
        (arXiv 1604.06174).
    """
    if not recomputes(inputs):
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False)


def recomputes(inputs: Sequence[Any]) -> bool:
    """Whether :func:`recompute` would compute anything again.

    Args:
        inputs: Tensors and others.

    Returns:
        For gradients on a CPU, not while compiling, nor while ``torch.jit``
        traces: it would find functions of ours instead of plain layers.
    """
    if is_compiling() or not torch.is_grad_enabled():
        return False
    if torch.jit.is_tracing():  # mmdet's get_flops.py, with gradients
        return False
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    on_gpu = any(x.is_cuda for x in tensors)
    return not on_gpu and any(x.requires_grad for x in tensors)


def has_own_backward(inputs: Sequence[Any]) -> bool:
    """Whether hand-written backward passes are taken.

    Args:
        inputs: Tensors and others.

    Returns:
        Where :func:`recompute` computes again and torch can tell that it
        compiles, but not in mixed precision.
    """
    return TELLS_COMPILING and recomputes(inputs) and not is_autocast('cpu')
