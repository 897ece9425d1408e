"""Batch normalisation whose statistics are those of all processes.

mmcv's module (``MMSyncBN``) does the exchange between the steps here.

Source: Batch normalization, Ioffe and Szegedy 2015, arXiv:1502.03167.
"""

from torch import Tensor


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Mean of each channel.

    Args:
        input: (B, C, L).
        mean: (C,), receives the result.
    """
    mean.copy_(input.float().mean((0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Mean squared distance of each channel to a mean.

    Args:
        input: (B, C, L).
        mean: (C,).
        var: (C,), receives the result.
    """
    distance = input.float() - mean[:, None]
    var.copy_(distance.square().mean((0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float,
    group_size: int,
) -> None:
    """Normalise, and update the running statistics.

    Args:
        input: (B, C, L).
        mean: (C,).
        var: (C,), not corrected for the number of samples.
        weight: (C,).
        bias: (C,).
        running_mean: (C,), is updated.
        running_var: (C,), is updated, with the corrected variance.
        norm: (B, C, L), receives the result before weight and bias.
        std: (C,), receives the standard deviation.
        output: (B, C, L), receives the result.
        eps: Added to the variance.
        momentum: Share of this batch in the running statistics.
        group_size: Number of processes.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((input.float() - mean[:, None]) / std[:, None])
    output.copy_(norm * weight[:, None] + bias[:, None])
    count = input.size(0) * input.size(2) * group_size
    corrected = var * count / (count - 1) if count > 1 else var
    momentum = float(momentum)
    running_mean.mul_(1 - momentum).add_(mean * momentum)
    running_var.mul_(1 - momentum).add_(corrected * momentum)


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Gradients for weight and bias.

    Args:
        grad_output: (B, C, L).
        norm: What the forward pass wrote.
        grad_weight: (C,), receives the result.
        grad_bias: (C,), receives the result.
    """
    gradient = grad_output.float()
    grad_weight.copy_((gradient * norm).sum((0, 2)))
    grad_bias.copy_(gradient.sum((0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Gradient for the input.

    Args:
        grad_output: (B, C, L).
        weight: (C,).
        grad_weight: (C,), mean over the processes.
        grad_bias: (C,), mean over the processes.
        norm: What the forward pass wrote.
        std: What the forward pass wrote.
        grad_input: (B, C, L), receives the result.
    """
    count = grad_output.size(0) * grad_output.size(2)
    common = grad_weight[:, None] * norm + grad_bias[:, None]
    scale = (weight / std)[:, None]
    grad_input.copy_((grad_output.float() - common / count) * scale)
