"""Sampling maps at weighted points without keeping the samples."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .recompute import has_own_backward, recompute


def weighted_samples(maps: Tensor, grids: Tensor, weights: Tensor) -> Tensor:
    """``(grid_sample(maps, grids) * weights).sum`` over the points.

    The samples are the largest thing in deformable attention. In training on
    a CPU they are taken again in the backward pass, and what is computed from
    them is written over them.

    Args:
        maps: Shape (n, channels, h, w).
        grids: (x, y) from -1 to 1, the outer edges of a map, shape (n,
            num_points, num_queries, 2).
        weights: Shape (n, num_points, num_queries).

    Returns:
        Shape (n, channels, num_queries).

    Source: Deformable DETR (arXiv 2010.04159), the sum over sampled points.
    """
    if has_own_backward([maps, grids, weights]):
        return _WeightedSamples.apply(maps, grids, weights)
    return recompute(_plain, maps, grids, weights)


def _plain(maps: Tensor, grids: Tensor, weights: Tensor) -> Tensor:
    return (_sample(maps, grids) * weights.unsqueeze(1)).sum(dim=2)


def _sample(maps: Tensor, grids: Tensor) -> Tensor:
    return F.grid_sample(maps, grids, align_corners=False)


class _WeightedSamples(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, maps: Tensor, grids: Tensor, weights: Tensor
    ) -> Tensor:
        ctx.save_for_backward(maps, grids, weights)
        samples = _sample(maps, grids)
        return samples.mul_(weights.unsqueeze(1)).sum(dim=2)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        maps, grids, weights = ctx.saved_tensors
        grad = grad.unsqueeze(2)
        memory = _sample(maps, grids)
        grad_weights = memory.mul_(grad).sum(dim=1)
        grad_samples = torch.mul(grad, weights.unsqueeze(1), out=memory)
        grad_maps, grad_grids = torch.ops.aten.grid_sampler_2d_backward(
            grad_samples, maps, grids, 0, 0, False, [True, True]
        )  # bilinear, zeros outside, not align_corners, both gradients
        return grad_maps, grad_grids, grad_weights
