"""Trading a little time of the backward pass for memory."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rfdetr_mm.stack import is_compiling


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
    if not _need_gradient(inputs):
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False)


def recompute_by_parts(
    function: Callable[[Tensor], Tensor], rows: Tensor, num_parts: int = 4
) -> Tensor:
    """Call a function of single rows, and :func:`recompute` it part by part.

    Neither pass holds what the function computes in between for more than
    one part of the rows. Without gradients it is a plain call.

    Args:
        function: Maps (n, channels) to (n, out_channels), each row on its own.
        rows: Shape (n, channels).
        num_parts: Into how many parts the rows are cut, as evenly as may be.

    Returns:
        Shape (n, out_channels).
    """
    if not _need_gradient([rows]):
        return function(rows)
    parts = rows.chunk(num_parts)
    return torch.cat([recompute(function, part) for part in parts])


def _need_gradient(inputs: Sequence[Any]) -> bool:
    if is_compiling() or not torch.is_grad_enabled():
        return False
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    on_gpu = any(x.is_cuda for x in tensors)
    return not on_gpu and any(x.requires_grad for x in tensors)
