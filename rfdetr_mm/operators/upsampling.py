"""CARAFE: upsampling whose kernels depend on the content.

An output pixel is the sum of the K * K pixels around its place in the input,
weighted by a kernel of its own, which all channels of a group share.

Source: CARAFE, Wang et al. 2019, arXiv:1905.02188.
"""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Upsample, and keep the features for the backward pass.

    Args:
        features: (B, C, H, W).
        masks: (B, group_size * K * K, H * scale_factor, W * scale_factor).
        rfeatures: As ``features``, receives them: what mmcv hands to
            :func:`carafe_backward`.
        routput: Not used.
        rmasks: Not used.
        output: (B, C, H * scale_factor, W * scale_factor), receives the
            result.
        kernel_size: K, odd.
        group_size: Groups of channels that share kernels.
        scale_factor: Pixels of the output per pixel of the input.
    """
    rfeatures.copy_(features)
    carafe_naive_forward(
        features, masks, output, kernel_size, group_size, scale_factor
    )


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Gradients of :func:`carafe_forward`.

    Args:
        top_grad: As the output of the forward pass.
        rfeatures: The features, as the forward pass kept them.
        masks: As in the forward pass.
        rtop_grad: Not used.
        rbottom_grad_hs: Not used.
        rbottom_grad: Not used.
        rmask_grad: Not used.
        bottom_grad: As the features, receives the result.
        mask_grad: As ``masks``, receives the result.
        kernel_size: As in the forward pass.
        group_size: As in the forward pass.
        scale_factor: As in the forward pass.
    """
    carafe_naive_backward(
        top_grad,
        rfeatures,
        masks,
        bottom_grad,
        mask_grad,
        kernel_size,
        group_size,
        scale_factor,
    )


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Upsample.

    Args:
        features: (B, C, H, W).
        masks: (B, group_size * K * K, H * scale_factor, W * scale_factor).
        output: (B, C, H * scale_factor, W * scale_factor), receives the
            result.
        kernel_size: K, odd.
        group_size: Groups of channels that share kernels.
        scale_factor: Pixels of the output per pixel of the input.
    """
    batch, channels, height, width = features.shape
    blocks = (height, scale_factor, width, scale_factor)
    kernels = masks.reshape(batch, group_size, 1, -1, *blocks)
    shape = (batch, group_size, channels // group_size, height, width)
    total = output.new_zeros(*shape[:3], *blocks)
    # One shift of the features after the other: all of them at once are
    # K * K times as large.
    for index, shifted in _shifts(features, kernel_size):
        pixels = shifted.reshape(shape)[..., None, :, None]
        total.addcmul_(pixels, kernels[:, :, :, index])
    output.copy_(total.view(output.shape))


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Gradients of :func:`carafe_naive_forward`.

    Args:
        top_grad: As the output of the forward pass.
        features: As in the forward pass.
        masks: As in the forward pass.
        bottom_grad: As ``features``, receives the result.
        mask_grad: As ``masks``, receives the result.
        kernel_size: As in the forward pass.
        group_size: As in the forward pass.
        scale_factor: As in the forward pass.
    """
    batch, channels, height, width = features.shape
    blocks = (height, scale_factor, width, scale_factor)
    kernels = masks.reshape(batch, group_size, 1, -1, *blocks)
    shape = (batch, group_size, channels // group_size, height, width)
    gradient = top_grad.reshape(*shape[:3], *blocks)
    of_kernels = mask_grad.new_zeros(
        batch, group_size, kernel_size**2, *blocks
    )
    margin = kernel_size // 2
    padded = F.pad(bottom_grad.new_zeros(features.shape), [margin] * 4)
    shifts = _shifts(features, kernel_size)
    for (index, shifted), (_, target) in zip(
        shifts, _windows(padded, kernel_size), strict=True
    ):
        pixels = shifted.reshape(shape)[..., None, :, None]
        of_kernels[:, :, index] = (gradient * pixels).sum(2)
        share = (gradient * kernels[:, :, :, index]).sum((4, 6))
        target += share.reshape(features.shape)
    mask_grad.copy_(of_kernels.view(masks.shape))
    bottom_grad.copy_(
        padded[..., margin : margin + height, margin : margin + width]
    )


def _shifts(
    features: Tensor, kernel_size: int
) -> Iterator[tuple[int, Tensor]]:
    """Place in the kernel, and the features that meet it there."""
    return _windows(F.pad(features, [kernel_size // 2] * 4), kernel_size)


def _windows(padded: Tensor, kernel_size: int) -> Iterator[tuple[int, Tensor]]:
    """Place in the kernel, and the view of a padded map that meets it."""
    height = padded.size(2) - kernel_size + 1
    width = padded.size(3) - kernel_size + 1
    for i in range(kernel_size):
        for j in range(kernel_size):
            view = padded[..., i : i + height, j : j + width]
            yield i * kernel_size + j, view
