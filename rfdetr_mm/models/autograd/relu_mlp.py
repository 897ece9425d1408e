"""An MLP that takes some rows at a time through all its layers."""

from collections.abc import Sequence
from itertools import chain, islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from .recompute import has_own_backward, recompute

ROWS_AT_ONCE = 512  # so that the hidden rows stay in a CPU's cache


def relu_mlp(x: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Linear layers with a ReLU between each two.

    In training on a CPU the hidden channels are computed for some rows at a
    time, and so are their gradients; what the ReLUs give is kept.

    Args:
        x: Shape (..., in_channels).
        layers: At least one, all with a bias.

    Returns:
        Shape (..., out_channels).
    """
    params = [param for layer in layers for param in layer.parameters()]
    if not has_own_backward([x, *params]):
        return recompute(_plain, x, *params)
    out = _ReluMLP.apply(x.flatten(0, -2), *params)
    return out.unflatten(0, x.shape[:-1])


def _plain(x: Tensor, *params: Tensor) -> Tensor:
    for i in range(0, len(params), 2):
        x = F.linear(F.relu(x) if i else x, params[i], params[i + 1])
    return x


class _ReluMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, *params: Tensor) -> Tensor:
        weights, biases = params[::2], params[1::2]
        out = rows.new_empty(len(rows), len(weights[-1]))
        hidden = []
        for x, y in zip(rows.split(ROWS_AT_ONCE), out.split(ROWS_AT_ONCE)):
            for weight, bias in zip(weights[:-1], biases):
                x = F.relu_(torch.mm(x, weight.t()).add_(bias))
                hidden.append(x)
            torch.mm(x, weights[-1].t(), out=y).add_(biases[-1])
        ctx.num_layers = len(weights)
        ctx.save_for_backward(*weights, rows, *hidden)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, ...]:
        weights = ctx.saved_tensors[: ctx.num_layers]
        rows, *hidden = ctx.saved_tensors[ctx.num_layers :]
        grad_rows = torch.empty_like(rows)
        grads = [
            (torch.zeros_like(weight), weight.new_zeros(len(weight)))
            for weight in weights
        ]
        parts = (x.split(ROWS_AT_ONCE) for x in (rows, grad, grad_rows))
        hidden = iter(hidden)
        for x, grad_y, grad_x in zip(*parts):
            inputs = [x, *islice(hidden, len(weights) - 1)]
            for i in reversed(range(len(weights))):
                grad_weight, grad_bias = grads[i]
                grad_weight.addmm_(grad_y.t(), inputs[i])
                grad_bias.add_(grad_y.sum(dim=0))
                if i > 0:
                    grad_y = grad_y @ weights[i]
                    torch.ops.aten.threshold_backward(
                        grad_y, inputs[i], 0, grad_input=grad_y
                    )
            torch.mm(grad_y, weights[0], out=grad_x)
        return grad_rows, *chain.from_iterable(grads)
