"""Focal losses, in the formulas of mmcv's CUDA code.

Compiled mmcv has them on a GPU only. Its logarithms stop at the least normal
float32, so that a sample that is wrong beyond doubt costs 87 at most.

Source: Focal loss, Lin et al. 2017, arXiv:1708.02002.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_PROBABILITY = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Loss of each logit.

    Args:
        input: (N, C), logits.
        target: (N,), class, or C for none.
        weight: (C,), weight of a row whose class it is; empty for 1. A row
            without a class has 1.
        output: (N, C), receives the result.
        gamma: Exponent.
        alpha: Weight of what is there; 1 - alpha of what is not.
    """
    p = input.sigmoid()
    q = 1 - p
    there = -alpha * q.pow(gamma) * _log(p)
    not_there = (alpha - 1) * p.pow(gamma) * _log(q)
    output.copy_(torch.where(_is_target(input, target), there, not_there))
    _apply_weight(output, target, weight)


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of :func:`sigmoid_focal_loss_forward`.

    Args:
        input: As in the forward pass.
        target: As in the forward pass.
        weight: As in the forward pass.
        grad_input: (N, C), receives the result.
        gamma: As in the forward pass.
        alpha: As in the forward pass.
    """
    p = input.sigmoid()
    q = 1 - p
    there = -alpha * q.pow(gamma) * (q - gamma * p * _log(p))
    not_there = (alpha - 1) * p.pow(gamma) * (gamma * q * _log(q) - p)
    grad_input.copy_(torch.where(_is_target(input, target), there, not_there))
    _apply_weight(grad_input, target, weight)


def softmax_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Loss of each row.

    Args:
        input: (N, C), probabilities.
        target: (N,), class; a negative one costs nothing.
        weight: (C,), weight of a class; empty for 1.
        output: (N,), receives the result.
        gamma: Exponent.
        alpha: Factor.
    """
    p, factor = _of_class(input, target, weight)
    output.copy_(-alpha * (1 - p).pow(gamma) * _log(p) * factor)


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of :func:`softmax_focal_loss_forward` for the logits.

    Args:
        input: (N, C), probabilities.
        target: As in the forward pass.
        weight: As in the forward pass.
        buff: (N,), receives an intermediate result.
        grad_input: (N, C), receives the result.
        gamma: As in the forward pass.
        alpha: As in the forward pass.
    """
    p, factor = _of_class(input, target, weight)
    q = 1 - p
    slope = gamma * q.pow(gamma - 1) * p * _log(p) - q.pow(gamma)
    buff.copy_(alpha * slope * factor)
    hot = F.one_hot(target.clamp(min=0), input.size(1)).to(input)
    grad_input.copy_(buff[:, None] * (hot - input))


def _log(p: Tensor) -> Tensor:
    """Logarithm of probabilities that may be 0."""
    return p.clamp(min=LEAST_PROBABILITY).log()


def _is_target(input: Tensor, target: Tensor) -> Tensor:
    """Whether a logit is of its row's class, (N, C)."""
    classes = torch.arange(input.size(1), device=input.device)
    return target[:, None] == classes


def _apply_weight(values: Tensor, target: Tensor, weight: Tensor) -> None:
    """Multiply rows (N, C) with the weight of their class."""
    if weight.numel():
        has_class = (target >= 0) & (target < len(weight))
        factor = weight[target.clamp(0, len(weight) - 1)]
        values.mul_(torch.where(has_class, factor, 1)[:, None])


def _of_class(
    softmax: Tensor, target: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Probability of each row's class and what its loss is multiplied with."""
    index = target.clamp(min=0)
    factor = (target >= 0).to(softmax)
    if weight.numel():
        factor = factor * weight[index]
    return softmax.gather(1, index[:, None])[:, 0], factor
