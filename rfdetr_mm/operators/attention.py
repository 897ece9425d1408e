"""Multi-scale deformable attention.

mmcv calls it on a GPU; on a CPU it has a function in plain torch of its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Weighted sum of samples of several feature maps.

    Source: Deformable DETR, Zhu et al. 2020, arXiv:2010.04159.

    Args:
        value: (B, sum of H * W, heads, channels of a head).
        value_spatial_shapes: (levels, 2), H and W.
        value_level_start_index: Not used.
        sampling_locations: (B, Q, heads, levels, points, 2), (x, y) from 0
            to 1.
        attention_weights: (B, Q, heads, levels, points).
        im2col_step: Not used.

    Returns:
        (B, Q, heads * channels of a head).
    """
    return _attend(
        value,
        value_spatial_shapes.tolist(),
        sampling_locations,
        attention_weights,
    )


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Gradients of :func:`ms_deform_attn_forward`.

    Args:
        value: As in the forward pass.
        value_spatial_shapes: As in the forward pass.
        value_level_start_index: Not used.
        sampling_locations: As in the forward pass.
        attention_weights: As in the forward pass.
        grad_output: (B, Q, heads * channels of a head).
        grad_value: As ``value``, receives the result.
        grad_sampling_loc: As ``sampling_locations``, receives the result.
        grad_attn_weight: As ``attention_weights``, receives the result.
        im2col_step: Not used.
    """
    with torch.enable_grad():
        leaves = [
            x.detach().requires_grad_()
            for x in (value, sampling_locations, attention_weights)
        ]
        output = _attend(leaves[0], value_spatial_shapes.tolist(), *leaves[1:])
        gradients = torch.autograd.grad(output, leaves, grad_output)
    targets = (grad_value, grad_sampling_loc, grad_attn_weight)
    for target, gradient in zip(targets, gradients, strict=True):
        target.copy_(gradient)


def _attend(
    value: Tensor, shapes: list[list[int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """The attention, in operations that autograd knows."""
    batch, _, heads, channels = value.shape
    queries = locations.size(1)
    maps = value.permute(0, 2, 3, 1).flatten(0, 1)
    # grid_sample counts from -1 to 1.
    grids = 2 * locations.transpose(1, 2).flatten(0, 1) - 1
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    samples, start = [], 0
    for level, (height, width) in enumerate(shapes):
        end = start + height * width
        samples.append(
            F.grid_sample(
                maps[..., start:end].unflatten(-1, (height, width)),
                grids[:, :, level],
                mode='bilinear',
                padding_mode='zeros',
                align_corners=False,
            )
        )
        start = end
    output = (torch.cat(samples, -1) * weights).sum(-1)
    output = output.view(batch, heads * channels, queries)
    return output.transpose(1, 2).contiguous()
