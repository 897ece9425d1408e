"""A layer-scaled linear layer of a GELU that keeps nothing but its input."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .recompute import has_own_backward, recompute


def scaled_gelu_linear(
    hidden: Tensor, weight: Tensor, bias: Tensor, scale: Tensor
) -> Tensor:
    """``linear(gelu(hidden)) * scale``, exact (erf).

    In training the scale is multiplied into the weights: nothing as large as
    the result is kept for its gradient. On a CPU the GELU and those weights
    are computed again in the backward pass.

    Without gradients the GELU overwrites ``hidden``: fresh memory of its size
    costs a CPU as much as the GELU.

    Args:
        hidden: Shape (..., hidden_channels), for nobody else to read.
        weight: Shape (out_channels, hidden_channels).
        bias: Shape (out_channels,).
        scale: The factor of every channel of the result, shape
            (out_channels,).

    Returns:
        Shape (..., out_channels).

    Source: "Gaussian Error Linear Units" (arXiv 1606.08415); LayerScale of
        "Going deeper with Image Transformers" (arXiv 2103.17239).
    """
    if not torch.is_grad_enabled():
        return F.linear(torch.ops.aten.gelu_(hidden), weight, bias) * scale
    if not has_own_backward([hidden, weight, bias, scale]):
        return recompute(_plain, hidden, weight, bias, scale)
    rows = hidden.flatten(0, -2)
    out = _ScaledGeluLinear.apply(rows, weight, bias, scale)
    return out.unflatten(0, hidden.shape[:-1])


def _plain(
    hidden: Tensor, weight: Tensor, bias: Tensor, scale: Tensor
) -> Tensor:
    scaled_weight = weight * scale.unsqueeze(1)
    return F.linear(F.gelu(hidden), scaled_weight, bias * scale)


class _ScaledGeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, scale)
        return _plain(hidden, weight, bias, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, ...]:
        hidden, weight, bias, scale = ctx.saved_tensors
        grad_hidden = grad_weight = grad_bias = grad_scale = None
        if any(ctx.needs_input_grad[1:]):
            # of the scaled weight and bias
            grad_weight, grad_bias = grad.t() @ F.gelu(hidden), grad.sum(dim=0)
            grad_scale = (grad_weight * weight).sum(dim=1) + grad_bias * bias
            grad_weight.mul_(scale.unsqueeze(1))
            grad_bias.mul_(scale)
        if ctx.needs_input_grad[0]:
            grad_hidden = (grad * scale) @ weight
            torch.ops.aten.gelu_backward(
                grad_hidden, hidden, grad_input=grad_hidden
            )
        return grad_hidden, grad_weight, grad_bias, grad_scale
