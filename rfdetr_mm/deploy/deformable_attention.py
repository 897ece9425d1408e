"""Deformable attention as a graph around the standard GridSample."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfdetr_mm.models.layers.deformable_attention import DeformableAttention

from .fixed_size import linear


class SamplingGrid:
    """Reference boxes in grid_sample's coordinates, the same in all layers.

    Args:
        boxes: Centres and sizes, normalised (x, y), shape (bs, num_queries,
            2) each.
        level_sizes: (h, w) of each level.
        num_queries: Queries of an image.
    """

    def __init__(
        self,
        boxes: tuple[Tensor, Tensor],
        level_sizes: Sequence[tuple[int, int]],
        num_queries: int,
    ) -> None:
        centers, sizes = boxes
        self.level_sizes = level_sizes
        self.num_queries = num_queries
        # (bs, 1, num_queries, 1, 2); -1 and 1 are the borders of the map
        shape = (-1, 1, num_queries, 1, 2)
        self.centers = (centers * 2 - 1).reshape(shape)
        self.sizes = sizes.reshape(shape)


class DeformableAttentionGraph(nn.Module):
    """:class:`DeformableAttention` on rows of queries, values given.

    Offsets and weights come of one matrix product.

    Args:
        attention: The layer.
    """

    def __init__(self, attention: DeformableAttention) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        self.num_points = attention.num_points
        offsets, weights = (
            attention.sampling_offsets,
            attention.attention_weights,
        )
        # The grid's unit is half a map, an offset's half a box by points.
        scale = 1 / attention.num_points
        self.offsets_weights = linear(
            torch.cat([offsets.weight * scale, weights.weight]),
            torch.cat([offsets.bias * scale, weights.bias]),
        )
        self.output_proj = attention.output_proj

    def forward(
        self, query: Tensor, grid: SamplingGrid, value: Tensor
    ) -> Tensor:
        """Sample around the reference boxes.

        Args:
            query: Content plus position, shape (bs * num_queries,
                embed_dims).
            grid: Reference boxes and sizes of the levels.
            value: Projected maps of all levels, shape (bs, embed_dims,
                num_tokens).

        Returns:
            Shape (bs * num_queries, embed_dims).
        """
        num_queries = grid.num_queries
        num_samples = len(grid.level_sizes) * self.num_points
        offsets, weights = self.offsets_weights(query).split(
            [2 * self.num_heads * num_samples, self.num_heads * num_samples],
            dim=1,
        )
        by_query = (-1, num_queries, self.num_heads, num_samples)
        # (bs, num_heads, num_queries, num_samples, 2) and without the 2
        offsets = offsets.reshape(*by_query, 2).transpose(1, 2)
        weights = weights.reshape(by_query).softmax(dim=-1).transpose(1, 2)
        locations = offsets * grid.sizes + grid.centers
        locations = locations.reshape(-1, num_queries, num_samples, 2)
        sampled = self._sample(value, locations, grid.level_sizes)
        weights = weights.reshape(-1, 1, num_queries, num_samples)
        # (bs * num_heads, head_dims, num_queries)
        out = (sampled * weights).sum(dim=-1)
        embed_dims = self.output_proj.in_features
        out = out.reshape(-1, embed_dims, num_queries).transpose(1, 2)
        return self.output_proj(out.reshape(-1, embed_dims))

    def _sample(
        self,
        value: Tensor,
        locations: Tensor,
        level_sizes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Values at (bs * heads, num_queries, num_samples, 2) locations."""
        head_dims = self.output_proj.in_features // self.num_heads
        lengths = [h * w for h, w in level_sizes]
        levels, points = [value], [locations]
        if len(level_sizes) > 1:
            levels = value.split(lengths, dim=2)
            points = locations.split(self.num_points, dim=2)
        sampled = [
            F.grid_sample(
                level.reshape(-1, head_dims, h, w), at, align_corners=False
            )
            for level, at, (h, w) in zip(levels, points, level_sizes)
        ]
        return sampled[0] if len(sampled) == 1 else torch.cat(sampled, dim=-1)
