"""A two-layer MLP that takes some rows at a time through both products."""

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
    """``linear(relu(linear(rows)))``, in a CPU's cache.

    The hidden channels are the largest thing that a decoder layer computes.
    They are kept for the backward pass once, after the ReLU; their gradients
    are computed for some rows at a time, always in the same memory.

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
        out = rows.new_empty(len(rows), len(weight2))
        pieces = []
        for x, y in zip(rows.split(ROWS_AT_ONCE), out.split(ROWS_AT_ONCE)):
            hidden = F.relu_(torch.mm(x, weight1.t()).add_(bias1))
            torch.mm(hidden, weight2.t(), out=y).add_(bias2)
            pieces.append(hidden)
        ctx.save_for_backward(rows, weight1, weight2, *pieces)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, ...]:
        rows, weight1, weight2, *pieces = ctx.saved_tensors
        grad_rows = torch.empty_like(rows)
        grad_weight1, grad_weight2 = map(torch.zeros_like, (weight1, weight2))
        grad_bias1 = weight1.new_zeros(len(weight1))
        memory = torch.empty_like(pieces[0])
        parts = (x.split(ROWS_AT_ONCE) for x in (rows, grad, grad_rows))
        for x, grad_y, grad_x, hidden in zip(*parts, pieces):
            grad_weight2.addmm_(grad_y.t(), hidden)
            grad_hidden = torch.mm(grad_y, weight2, out=memory[: len(x)])
            torch.ops.aten.threshold_backward(
                grad_hidden, hidden, 0, grad_input=grad_hidden
            )
            grad_weight1.addmm_(grad_hidden.t(), x)
            grad_bias1.add_(grad_hidden.sum(dim=0))
            torch.mm(grad_hidden, weight1, out=grad_x)
        return grad_rows, grad_weight1, grad_bias1, grad_weight2, grad.sum(0)
