"""Features of regions: RoIAlign, RoIPool, deformable RoI pooling.

Regions are rows (index of the image, x1, y1, x2, y2) in pixels of the image;
``spatial_scale`` takes them to the feature map.
"""

import torch
import torchvision
from torch import Tensor

# What compiled mmcv begins its search for a maximum with.
LEAST_MAXIMUM = -10000.0


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Mean or maximum of bilinear samples in each bin of each region.

    Source: Mask R-CNN, He et al. 2017, arXiv:1703.06870; ``aligned`` shifts
    by half a pixel as Detectron2 does.

    Args:
        input: (B, C, H, W).
        rois: (R, 5).
        output: (R, C, aligned_height, aligned_width), receives the result.
        argmax_y: As ``output`` for the maximum: receives where it is, in
            pixels of the feature map.
        argmax_x: As ``argmax_y``.
        aligned_height: Bins downwards.
        aligned_width: Bins to the right.
        spatial_scale: Pixels of the feature map per pixel of the image.
        sampling_ratio: Samples along each side of a bin; 0 takes one per
            pixel of the feature map, rounded up.
        pool_mode: 0 for the maximum, 1 for the mean.
        aligned: Whether pixel centres lie at halves.
    """
    if pool_mode == 1:
        output.copy_(
            torchvision.ops.roi_align(
                input,
                rois.to(input),
                (aligned_height, aligned_width),
                spatial_scale,
                sampling_ratio,
                aligned,
            )
        )
        return
    bins = (aligned_height, aligned_width)
    for row, roi in enumerate(rois):
        start, size = _region(roi, spatial_scale, aligned, not aligned)
        y, x = _samples(start, size, bins, sampling_ratio)
        y, x = torch.broadcast_tensors(y, x)
        y, x = y.flatten(2), x.flatten(2)
        if not y.size(2):
            output[row] = LEAST_MAXIMUM
            argmax_y[row] = argmax_x[row] = -1
            continue
        values = _bilinear(input[int(roi[0])], y, x)
        best = values.argmax(-1, keepdim=True)
        output[row] = values.gather(-1, best)[..., 0]
        argmax_y[row] = y.expand_as(values).gather(-1, best)[..., 0]
        argmax_x[row] = x.expand_as(values).gather(-1, best)[..., 0]


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward` for its input.

    Args:
        grad_output: (R, C, aligned_height, aligned_width).
        rois: (R, 5).
        argmax_y: What the forward pass wrote.
        argmax_x: What the forward pass wrote.
        grad_input: (B, C, H, W), receives the result.
        aligned_height: As in the forward pass.
        aligned_width: As in the forward pass.
        spatial_scale: As in the forward pass.
        sampling_ratio: As in the forward pass.
        pool_mode: As in the forward pass.
        aligned: As in the forward pass.
    """
    if pool_mode == 1:
        # The operator itself, not autograd: it needs no forward pass.
        grad_input.copy_(
            torch.ops.torchvision._roi_align_backward(
                grad_output,
                rois.to(grad_output),
                spatial_scale,
                aligned_height,
                aligned_width,
                *grad_input.shape,
                sampling_ratio,
                aligned,
            )
        )
        return
    height, width = grad_input.shape[2:]
    for row, roi in enumerate(rois):
        target = grad_input[int(roi[0])].flatten(1)
        for index, weight in _corners(
            argmax_y[row], argmax_x[row], height, width
        ):
            share = grad_output[row] * weight * (argmax_y[row] != -1)
            target.scatter_add_(1, index.flatten(1), share.flatten(1))


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Maximum of the pixels in each bin of each region.

    mmcv takes the bins' sides down and up to whole pixels; torchvision's
    ``roi_pool`` rounds the region first, which gives other values.

    Source: Fast R-CNN, Girshick 2015, arXiv:1504.08083.

    Args:
        input: (B, C, H, W).
        rois: (R, 5).
        output: (R, C, pooled_height, pooled_width), receives the result.
        argmax: As ``output``, receives the maximum's place in H * W, or -1
            for a bin without pixels.
        pooled_height: Bins downwards.
        pooled_width: Bins to the right.
        spatial_scale: Pixels of the feature map per pixel of the image.
    """
    height, width = input.shape[2:]
    low = rois[:, 1:3] * spatial_scale
    size = (rois[:, 3:5] + 1) * spatial_scale - low
    tops, bottoms = _whole_bins(low[:, 1], size[:, 1], pooled_height, height)
    lefts, rights = _whole_bins(low[:, 0], size[:, 0], pooled_width, width)
    output.zero_()
    argmax.fill_(-1)
    for row, roi in enumerate(rois):
        if (size[row] <= 0).any():
            continue
        feature = input[int(roi[0])]
        for j, (left, right) in enumerate(zip(lefts[row], rights[row])):
            if left >= right:
                continue
            # Along x first, then along y: the first of equal pixels stays.
            column, place = feature[:, :, left:right].max(-1)
            place = place + left
            for i, (top, bottom) in enumerate(zip(tops[row], bottoms[row])):
                if top >= bottom:
                    continue
                best, y = column[:, top:bottom].max(-1)
                y = y + top
                output[row, :, i, j] = best
                x = place.gather(1, y[:, None])[:, 0]
                argmax[row, :, i, j] = (y * width + x).to(argmax.dtype)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Gradient of :func:`roi_pool_forward` for its input.

    Args:
        grad_output: (R, C, pooled_height, pooled_width).
        rois: (R, 5).
        argmax: What the forward pass wrote.
        grad_input: (B, C, H, W), receives the result.
        pooled_height: As in the forward pass.
        pooled_width: As in the forward pass.
        spatial_scale: As in the forward pass.
    """
    for row, roi in enumerate(rois):
        index = argmax[row].flatten(1).long()
        share = grad_output[row].flatten(1) * (index >= 0)
        grad_input[int(roi[0])].flatten(1).scatter_add_(
            1, index.clamp(min=0), share
        )


def _whole_bins(
    low: Tensor, size: Tensor, bins: int, limit: int
) -> tuple[list[list[int]], list[list[int]]]:
    """First and one past the last pixel of each bin: (R, bins) each."""
    edges = torch.arange(bins, device=low.device, dtype=low.dtype)
    side = (size / bins)[:, None]
    first = (edges * side + low[:, None]).floor()
    last = ((edges + 1) * side + low[:, None]).ceil()
    return tuple(
        edge.clamp(0, limit).long().tolist() for edge in (first, last)
    )


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """RoIAlign whose bins are moved.

    Source: Deformable convolutional networks, Dai et al. 2017,
    arXiv:1703.06211.

    Args:
        input: (B, C, H, W).
        rois: (R, 5).
        offset: (R, 2, pooled_height, pooled_width), x before y, in sides of
            the region; empty for none.
        output: (R, C, pooled_height, pooled_width), receives the result.
        pooled_height: Bins downwards.
        pooled_width: Bins to the right.
        spatial_scale: Pixels of the feature map per pixel of the image.
        sampling_ratio: As in :func:`roi_align_forward`.
        gamma: What the offsets are multiplied with.
    """
    for row, roi in enumerate(rois):
        output[row] = _moved_bins(
            input[int(roi[0])],
            roi,
            offset[row] if offset.numel() else None,
            (pooled_height, pooled_width),
            spatial_scale,
            sampling_ratio,
            gamma,
        )


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Gradients of :func:`deform_roi_pool_forward`.

    Args:
        grad_output: (R, C, pooled_height, pooled_width).
        input: As in the forward pass.
        rois: As in the forward pass.
        offset: As in the forward pass.
        grad_input: As ``input``, receives the result.
        grad_offset: As ``offset``, receives the result.
        pooled_height: As in the forward pass.
        pooled_width: As in the forward pass.
        spatial_scale: As in the forward pass.
        sampling_ratio: As in the forward pass.
        gamma: As in the forward pass.
    """
    for row, roi in enumerate(rois):
        index = int(roi[0])
        with torch.enable_grad():
            leaves = [input[index].detach().requires_grad_()]
            if offset.numel():
                leaves.append(offset[row].detach().requires_grad_())
            pooled = _moved_bins(
                leaves[0],
                roi,
                leaves[1] if offset.numel() else None,
                (pooled_height, pooled_width),
                spatial_scale,
                sampling_ratio,
                gamma,
            )
            gradients = torch.autograd.grad(pooled, leaves, grad_output[row])
        grad_input[index] += gradients[0]
        if offset.numel():
            grad_offset[row] = gradients[1]


def _moved_bins(
    feature: Tensor,
    roi: Tensor,
    offset: Tensor | None,
    bins: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> Tensor:
    """One region's means, (C, bins downwards, bins to the right)."""
    start, size = _region(roi, spatial_scale, True, False)
    y, x = _samples(start, size, bins, sampling_ratio)
    if offset is not None:
        x = x + (gamma * size[1] * offset[0])[..., None, None]
        y = y + (gamma * size[0] * offset[1])[..., None, None]
    values = _bilinear(feature, *torch.broadcast_tensors(y, x))
    # A region without samples has zeros.
    count = max(values.size(-1) * values.size(-2), 1)
    return values.sum((-1, -2)) / count


def _region(
    roi: Tensor, spatial_scale: float, aligned: bool, at_least_one: bool
) -> tuple[Tensor, Tensor]:
    """Start and size, (y, x) each, in pixels of the feature map."""
    corners = roi[1:] * spatial_scale - (0.5 if aligned else 0)
    start, end = corners[:2].flip(0), corners[2:].flip(0)
    size = end - start
    return start, size.clamp(min=1) if at_least_one else size


def _samples(
    start: Tensor, size: Tensor, bins: tuple[int, int], sampling_ratio: int
) -> tuple[Tensor, Tensor]:
    """Coordinates of the samples in each bin.

    Returns:
        y of shape (bins down, 1, G, 1) and x of shape (1, bins right, 1, K)
        for G samples down and K to the right.
    """
    coordinates = []
    for axis, count in enumerate(bins):
        side = size[axis] / count
        number = sampling_ratio if sampling_ratio > 0 else int(side.ceil())
        steps = torch.arange(max(number, 0), device=size.device)
        inner = (steps.to(side) + 0.5) * side / max(number, 1)
        outer = start[axis] + torch.arange(count).to(side) * side
        coordinates.append(outer[:, None] + inner)
    y, x = coordinates
    return y[:, None, :, None], x[None, :, None, :]


def _bilinear(feature: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Samples of a feature map (C, H, W): (C, *y.shape)."""
    channels, height, width = feature.shape
    pixels = feature.flatten(1)
    return sum(
        pixels[:, index.flatten()].view(channels, *y.shape) * weight
        for index, weight in _corners(y, x, height, width)
    )


def _corners(
    y: Tensor, x: Tensor, height: int, width: int
) -> list[tuple[Tensor, Tensor]]:
    """Index into H * W and weight of the four pixels around points.

    Up to a pixel beyond the border counts as the border, beyond it as zero.
    """
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.detach().long(), x.detach().long()
    bottom = (top + 1).clamp(max=height - 1)
    right = (left + 1).clamp(max=width - 1)
    down, across = y - top, x - left
    return [
        (top * width + left, (1 - down) * (1 - across) * inside),
        (top * width + right, (1 - down) * across * inside),
        (bottom * width + left, down * (1 - across) * inside),
        (bottom * width + right, down * across * inside),
    ]
