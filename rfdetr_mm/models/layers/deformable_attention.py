"""Deformable cross-attention in plain PyTorch, without compiled operators."""

import math

import torch
from torch import Tensor, nn

from ..autograd.weighted_samples import weighted_samples
from .decoder_memory import DecoderMemory


class DeformableAttention(nn.Module):
    """Every query samples a few points around its reference box.

    Differs from mmcv's MultiScaleDeformableAttention: no residual and no
    dropout inside, references are always boxes, no compiled operator.

    Args:
        embed_dims: Channels of queries and memory.
        num_heads: Heads; they share ``embed_dims`` evenly.
        num_levels: Maps in the memory.
        num_points: Sampled points per head and level.

    Source: Deformable DETR (arXiv 2010.04159); rfdetr 1.11.2, MSDeformAttn.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, num_levels: int, num_points: int
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_levels = num_levels
        self.num_points = num_points
        num_samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(embed_dims, 2 * num_samples)
        self.attention_weights = nn.Linear(embed_dims, num_samples)
        self.value_proj = nn.Linear(embed_dims, embed_dims)
        self.output_proj = nn.Linear(embed_dims, embed_dims)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions /= directions.abs().max(dim=-1, keepdim=True).values
        steps = torch.arange(1, self.num_points + 1).view(1, 1, -1, 1)
        offsets = directions.view(-1, 1, 1, 2) * steps
        offsets = offsets.expand(-1, self.num_levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        for layer in (self.attention_weights, self.value_proj):
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.output_proj.bias)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.xavier_uniform_(self.value_proj.weight)
        nn.init.xavier_uniform_(self.output_proj.weight)

    def forward(
        self, query: Tensor, reference_boxes: Tensor, memory: DecoderMemory
    ) -> Tensor:
        """Sample the memory around the reference boxes.

        Args:
            query: Content plus position, shape (bs, num_queries,
                embed_dims).
            reference_boxes: (cx, cy, w, h) relative to each padded level,
                shape (bs, num_queries, num_levels, 4).
            memory: Maps as tokens.

        Returns:
            Shape (bs, num_queries, embed_dims).
        """
        value = self.value_proj(memory.tokens)
        if memory.padding_mask is not None:
            value = value.masked_fill(memory.padding_mask.unsqueeze(-1), 0.0)
        value = value.unflatten(2, (self.num_heads, -1))
        out = self._sample(
            value, query, reference_boxes, memory.spatial_shapes
        )
        return self.output_proj(out)

    def _sample(
        self,
        value: Tensor,
        query: Tensor,
        reference_boxes: Tensor,
        spatial_shapes: list[tuple[int, int]],
    ) -> Tensor:
        """Weighted sum of values, shape (bs, num_queries, embed_dims)."""
        # Queries go last, as far as they may: arithmetic along them is fast.
        samples = (self.num_heads, self.num_levels, self.num_points)
        offsets = self.sampling_offsets(query).unflatten(2, (*samples, 2))
        offsets = offsets.permute(0, 2, 3, 4, 1, 5).contiguous()
        weights = self.attention_weights(query).transpose(1, 2)
        weights = weights.unflatten(1, (self.num_heads, -1))
        weights = weights.softmax(dim=2).unflatten(2, samples[1:])
        # (bs, 1, num_levels, 1, num_queries, 2) each
        boxes = reference_boxes.transpose(1, 2)[:, None, :, None]
        centers, sizes = boxes.split(2, dim=-1)
        locations = centers + offsets / self.num_points * sizes * 0.5
        return sample_maps(value, spatial_shapes, locations, weights)


def sample_maps(
    value: Tensor,
    spatial_shapes: list[tuple[int, int]],
    locations: Tensor,
    weights: Tensor,
) -> Tensor:
    """Sum up the values at weighted locations of all maps.

    Differs from mmcv's ``multi_scale_deformable_attn_pytorch``, which copies
    the samples of all levels into one tensor: here every level adds to the
    sum.

    Args:
        value: Maps as tokens, shape (bs, num_tokens, num_heads, head_dims).
        spatial_shapes: (h, w) of each map.
        locations: (x, y) in [0, 1] of each map, shape (bs, num_heads,
            num_levels, num_points, num_queries, 2).
        weights: Shape (bs, num_heads, num_levels, num_points, num_queries).

    Returns:
        Shape (bs, num_queries, num_heads * head_dims).

    Source: Deformable DETR (arXiv 2010.04159); rfdetr 1.11.2,
        ms_deform_attn_core_pytorch.
    """
    bs, _, num_heads, head_dims = value.shape
    # Heads become images.
    grids = (2 * locations - 1).flatten(0, 1)
    weights = weights.flatten(0, 1)
    sums = []
    tokens_of_levels = value.split([h * w for h, w in spatial_shapes], dim=1)
    for level, (h, w) in enumerate(spatial_shapes):
        maps = tokens_of_levels[level].permute(0, 2, 3, 1)
        maps = maps.reshape(bs * num_heads, head_dims, h, w)
        sums.append(weighted_samples(maps, grids[:, level], weights[:, level]))
    total = sum(sums[1:], sums[0]).unflatten(0, (bs, num_heads))
    return total.flatten(1, 2).transpose(1, 2)
