"""Deformable convolutions, and convolution at some places only.

mmcv hands over buffers ``columns`` and ``ones`` that its C++ code works in.
Here only ``columns`` of the plain deformable convolution is used: torchvision
computes all gradients at once and mmcv asks for them in two calls, so that
the first leaves the weight's gradient there for the second.
"""

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Convolution whose samples are moved.

    Source: Deformable convolutional networks, Dai et al. 2017,
    arXiv:1703.06211.

    Args:
        input: (B, C, H, W).
        weight: (D, C / group, kH, kW).
        offset: (B, 2 * deformable_group * kH * kW, h, w), y before x.
        output: (B, D, h, w), receives the result.
        columns: Not used.
        ones: Not used.
        kW: Kernel's width.
        kH: Kernel's height.
        dW: Stride to the right.
        dH: Stride downwards.
        padW: Padding left and right.
        padH: Padding above and below.
        dilationW: Dilation to the right.
        dilationH: Dilation downwards.
        group: Groups of channels.
        deformable_group: Groups of channels that share offsets.
        im2col_step: Not used.
    """
    output.copy_(
        _forward(
            input,
            weight,
            offset,
            None,
            None,
            (dH, dW, padH, padW, dilationH, dilationW),
        )
    )


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Gradients of :func:`deform_conv_forward` for input and offset.

    Args:
        input: As in the forward pass.
        offset: As in the forward pass.
        gradOutput: (B, D, h, w).
        gradInput: As ``input``, receives the result.
        gradOffset: As ``offset``, receives the result.
        weight: As in the forward pass.
        columns: Receives the weight's gradient, for
            :func:`deform_conv_backward_parameters`.
        kW: As in the forward pass.
        kH: As in the forward pass.
        dW: As in the forward pass.
        dH: As in the forward pass.
        padW: As in the forward pass.
        padH: As in the forward pass.
        dilationW: As in the forward pass.
        dilationH: As in the forward pass.
        group: As in the forward pass.
        deformable_group: As in the forward pass.
        im2col_step: Not used.
    """
    gradients = _backward(
        gradOutput,
        input,
        weight,
        offset,
        None,
        None,
        (dH, dW, padH, padW, dilationH, dilationW),
        (group, deformable_group),
    )
    gradInput.copy_(gradients['input'])
    gradOffset.copy_(gradients['offset'])
    columns.resize_(weight.shape).copy_(gradients['weight'])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Gradient of :func:`deform_conv_forward` for the weight.

    Args:
        input: As in the forward pass.
        offset: As in the forward pass.
        gradOutput: (B, D, h, w).
        gradWeight: As ``weight``; ``scale`` times the gradient is added.
        columns: What :func:`deform_conv_backward_input` left there, or
            empty if mmcv did not call it.
        ones: Not used.
        kW: As in the forward pass.
        kH: As in the forward pass.
        dW: As in the forward pass.
        dH: As in the forward pass.
        padW: As in the forward pass.
        padH: As in the forward pass.
        dilationW: As in the forward pass.
        dilationH: As in the forward pass.
        group: As in the forward pass.
        deformable_group: As in the forward pass.
        scale: What the gradient is multiplied with.
        im2col_step: Not used.
    """
    if columns.numel():
        gradWeight.add_(columns, alpha=scale)
        columns.resize_(0)
        return
    gradients = _backward(
        gradOutput,
        input,
        torch.zeros_like(gradWeight),
        offset,
        None,
        None,
        (dH, dW, padH, padW, dilationH, dilationW),
        (group, deformable_group),
    )
    gradWeight.add_(gradients['weight'].to(gradWeight), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Convolution whose samples are moved and weighted.

    Source: Deformable ConvNets v2, Zhu et al. 2018, arXiv:1811.11168.

    Args:
        input: (B, C, H, W).
        weight: (D, C / group, kernel_h, kernel_w).
        bias: (D,), used if ``with_bias``.
        ones: Not used.
        offset: (B, 2 * deformable_group * kernel_h * kernel_w, h, w).
        mask: (B, deformable_group * kernel_h * kernel_w, h, w).
        output: (B, D, h, w), receives the result.
        columns: Not used.
        kernel_h: Kernel's height.
        kernel_w: Kernel's width.
        stride_h: Stride downwards.
        stride_w: Stride to the right.
        pad_h: Padding above and below.
        pad_w: Padding left and right.
        dilation_h: Dilation downwards.
        dilation_w: Dilation to the right.
        group: Groups of channels.
        deformable_group: Groups of channels that share offsets.
        with_bias: Whether there is a bias.
    """
    output.copy_(
        _forward(
            input,
            weight,
            offset,
            mask,
            bias if with_bias else None,
            (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w),
        )
    )


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Gradients of :func:`modulated_deform_conv_forward`.

    Args:
        input: As in the forward pass.
        weight: As in the forward pass.
        bias: As in the forward pass.
        ones: Not used.
        offset: As in the forward pass.
        mask: As in the forward pass.
        columns: Not used.
        grad_input: As ``input``, receives the result.
        grad_weight: As ``weight``, receives the result.
        grad_bias: As ``bias``, receives the result if ``with_bias``.
        grad_offset: As ``offset``, receives the result.
        grad_mask: As ``mask``, receives the result.
        grad_output: (B, D, h, w).
        kernel_h: As in the forward pass.
        kernel_w: As in the forward pass.
        stride_h: As in the forward pass.
        stride_w: As in the forward pass.
        pad_h: As in the forward pass.
        pad_w: As in the forward pass.
        dilation_h: As in the forward pass.
        dilation_w: As in the forward pass.
        group: As in the forward pass.
        deformable_group: As in the forward pass.
        with_bias: As in the forward pass.
    """
    gradients = _backward(
        grad_output,
        input,
        weight,
        offset,
        mask,
        bias if with_bias else None,
        (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w),
        (group, deformable_group),
    )
    grad_input.copy_(gradients['input'])
    grad_weight.copy_(gradients['weight'])
    grad_offset.copy_(gradients['offset'])
    grad_mask.copy_(gradients['mask'])
    if with_bias:
        grad_bias.copy_(gradients['bias'])


def _forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
) -> Tensor:
    """The convolution; ``geometry``: stride, padding, dilation, (y, x) each.

    torchvision reads the groups off the shapes.
    """
    stride, padding, dilation = geometry[:2], geometry[2:4], geometry[4:]
    return torchvision.ops.deform_conv2d(
        _computable(input),
        _computable(offset),
        _computable(weight),
        _computable(bias),
        stride,
        padding,
        dilation,
        _computable(mask),
    )


def _backward(
    gradient: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
    groups: tuple[int, int],
) -> dict[str, Tensor]:
    """All gradients, by name.

    It calls torchvision's operator itself: autograd would need a forward
    pass, which is a third of the time.
    """
    has_mask = mask is not None
    if bias is None:
        bias = weight.new_zeros(weight.size(0))
    if mask is None:
        mask = input.new_zeros(input.size(0), 1)
    values = torch.ops.torchvision._deform_conv2d_backward(
        _computable(gradient),
        *map(_computable, (input, weight, offset, mask, bias)),
        *geometry,
        *groups,
        has_mask,
    )
    return dict(
        zip(('input', 'weight', 'offset', 'mask', 'bias'), values, strict=True)
    )


def _computable(values: Tensor | None) -> Tensor | None:
    """As float32 where torchvision has no kernel for the type."""
    if values is None or values.dtype in (torch.float32, torch.float64):
        return values
    if values.dtype == torch.float16 and values.is_cuda:
        return values
    return values.float()


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Patches of an image around some places.

    Args:
        im: (1, C, H, W).
        mask_h_idx: (M,), rows of the output of a convolution of stride 1.
        mask_w_idx: (M,), its columns.
        col: (C * kernel_h * kernel_w, M), receives the result.
        kernel_h: Patches' height.
        kernel_w: Patches' width.
        pad_h: Zeros above and below the image.
        pad_w: Zeros left and right of it.
    """
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    patches = col.view(im.size(1), kernel_h, kernel_w, -1)
    for i in range(kernel_h):
        for j in range(kernel_w):
            patches[:, i, j] = padded[:, mask_h_idx + i, mask_w_idx + j]


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Put columns to their places.

    Args:
        col: (C, M).
        mask_h_idx: (M,), rows.
        mask_w_idx: (M,), columns.
        im: (1, C, height, width), receives them; the rest stays.
        height: The height of ``im``.
        width: The width of ``im``.
        channels: The channels of ``im``.
    """
    im[0, :, mask_h_idx, mask_w_idx] = col
