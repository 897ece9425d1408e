"""A linear layer of a GELU, without keeping what the GELU gives."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .recompute import has_own_backward, recompute


def gelu_linear(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``linear(gelu(hidden))``, exact (erf).

    In training on a CPU the GELU is computed again in the backward pass, and
    its gradient is written over it.

    Args:
        hidden: Shape (..., hidden_channels).
        weight: Shape (out_channels, hidden_channels).
        bias: Shape (out_channels,).

    Returns:
        Shape (..., out_channels).
    """
    if has_own_backward([hidden, weight, bias]):
        out = _GeluLinear.apply(hidden.flatten(0, -2), weight, bias)
        return out.unflatten(0, hidden.shape[:-1])
    return recompute(_plain, hidden, weight, bias)


def _plain(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(F.gelu(hidden), weight, bias)


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        return F.linear(F.gelu(hidden), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, ...]:
        hidden, weight = ctx.saved_tensors
        grad_hidden = grad_weight = grad_bias = None
        if ctx.needs_input_grad[1]:
            grad_weight = grad.t() @ F.gelu(hidden)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(dim=0)
        if ctx.needs_input_grad[0]:
            grad_hidden = grad @ weight
            torch.ops.aten.gelu_backward(
                grad_hidden, hidden, grad_input=grad_hidden
            )
        return grad_hidden, grad_weight, grad_bias
