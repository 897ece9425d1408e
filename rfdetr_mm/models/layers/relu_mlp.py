"""A two-layer MLP whose hidden channels are never held for all rows."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

ROWS_AT_ONCE = 512  # so that the hidden rows stay in a CPU's cache


def relu_mlp(
    rows: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
) -> Tensor:
    """``linear(relu(linear(rows)))``, in little memory on a CPU.

    The hidden channels are the largest thing that a decoder layer computes.
    Some rows at a time go through both products, and again in the backward
    pass, always in the same two pieces of memory.

    Args:
        rows: Shape (n, channels).
        weight1: Shape (hidden_channels, channels).
        bias1: Shape (hidden_channels,).
        weight2: Shape (out_channels, hidden_channels).
        bias2: Shape (out_channels,).

    Returns:
        Shape (n, out_channels).
    """
    return _ReluMLP.apply(rows, weight1, bias1, weight2, bias2)


class _ReluMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        rows: Tensor,
        weight1: Tensor,
        bias1: Tensor,
        weight2: Tensor,
        bias2: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(rows, weight1, bias1, weight2)
        out = rows.new_empty(len(rows), len(weight2))
        memory = _memory(rows, weight1)
        for x, y in zip(rows.split(ROWS_AT_ONCE), out.split(ROWS_AT_ONCE)):
            hidden = _hidden(x, weight1, bias1, memory)
            torch.mm(hidden, weight2.t(), out=y).add_(bias2)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, ...]:
        rows, weight1, bias1, weight2 = ctx.saved_tensors
        grad_rows = torch.empty_like(rows)
        grad_weight1, grad_bias1, grad_weight2 = map(
            torch.zeros_like, (weight1, bias1, weight2)
        )
        memory, grad_memory = (_memory(rows, weight1) for _ in range(2))
        parts = (x.split(ROWS_AT_ONCE) for x in (rows, grad, grad_rows))
        for x, grad_y, grad_x in zip(*parts):
            hidden = _hidden(x, weight1, bias1, memory)
            grad_weight2.addmm_(grad_y.t(), hidden)
            grad_hidden = grad_memory[: len(x)]
            torch.mm(grad_y, weight2, out=grad_hidden)
            torch.ops.aten.threshold_backward(
                grad_hidden, hidden, 0, grad_input=grad_hidden
            )
            grad_weight1.addmm_(grad_hidden.t(), x)
            grad_bias1.add_(grad_hidden.sum(dim=0))
            torch.mm(grad_hidden, weight1, out=grad_x)
        return grad_rows, grad_weight1, grad_bias1, grad_weight2, grad.sum(0)


def _memory(rows: Tensor, weight1: Tensor) -> Tensor:
    return rows.new_empty(min(len(rows), ROWS_AT_ONCE), len(weight1))


def _hidden(
    x: Tensor, weight1: Tensor, bias1: Tensor, memory: Tensor
) -> Tensor:
    hidden = torch.mm(x, weight1.t(), out=memory[: len(x)])
    return F.relu_(hidden.add_(bias1))
