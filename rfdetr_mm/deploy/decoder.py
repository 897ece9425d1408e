"""Query selection and decoder as a graph of the first query group."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfdetr_mm.models.layers.decoder import RFDETRDecoder, RFDETRDecoderLayer
from rfdetr_mm.models.layers.decoder_memory import build_memory
from rfdetr_mm.models.layers.query_selector import (
    QuerySelector,
    grid_proposals,
)

from .attention import attend, by_head
from .deformable_attention import DeformableAttentionGraph, SamplingGrid
from .fixed_size import constant, linear, merged_linear, scaled_linear

# mmdet.models.layers.coordinate_to_encoding
TEMPERATURE = 10000


class SelectorGraph(nn.Module):
    """The first group of a :class:`QuerySelector`.

    Args:
        selector: The selector of all groups.
    """

    def __init__(self, selector: QuerySelector) -> None:
        super().__init__()

        def first(layer: nn.Module) -> nn.Linear:
            return linear(layer.weight[0], layer.bias[0])

        self.proj = first(selector.proj)
        self.cls_branch = first(selector.cls_branch)
        self.reg_branch = nn.ModuleList(map(first, selector.reg_branch))
        self.embed_dims = selector.proj.weight.shape[1]
        self.norm = nn.LayerNorm(self.embed_dims)
        self.norm.weight = nn.Parameter(selector.norm.weight[0].detach())
        self.norm.bias = nn.Parameter(selector.norm.bias[0].detach())

    def build_constants(self, maps: list[Tensor]) -> None:
        """Compute the proposals of every cell.

        Args:
            maps: Maps of the levels' sizes, shape (1, embed_dims, h, w) each.
        """
        proposals, invalid = grid_proposals(build_memory(maps))
        constant(self, 'proposals', proposals[0])
        self.num_tokens = proposals.shape[1]
        self.any_invalid = bool(invalid.any())
        constant(self, 'valid', (~invalid[0]).to(proposals).unsqueeze(-1))

    def forward(
        self, tokens: Tensor, num_queries: int
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Select the best positions.

        Args:
            tokens: Maps as rows, shape (bs * num_tokens, embed_dims).
            num_queries: How many; not more than there are tokens.

        Returns:
            Centres and sizes of their boxes, normalised, shape (bs,
            num_queries, 2) each; and their features, shape (bs *
            num_queries, embed_dims).
        """
        num_tokens, embed_dims = self.num_tokens, self.embed_dims
        if self.any_invalid:
            by_image = tokens.reshape(-1, num_tokens, embed_dims)
            tokens = (by_image * self.valid).reshape(-1, embed_dims)
        tokens = self.norm(self.proj(tokens))
        scores = self.cls_branch(tokens).amax(dim=-1)
        best = top_k(scores.reshape(-1, num_tokens), num_queries)[1]
        tokens = tokens.reshape(-1, num_tokens, embed_dims)
        chosen = gather_rows(tokens, best, embed_dims)
        deltas = chosen = chosen.reshape(-1, embed_dims)
        for i, layer in enumerate(self.reg_branch):
            deltas = layer(deltas if i == 0 else F.relu(deltas))
        deltas = deltas.reshape(-1, num_queries, 4)
        boxes = self.proposals[best].split(2, dim=-1)
        return move_boxes(boxes, deltas), chosen


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Best k of the last dimension, equal ones in their order.

    mmdeploy replaces ``torch.topk`` by one for sizes that a trace does not
    know, so the operator itself is called.
    """
    return torch.ops.aten.topk(scores, k)


def gather_rows(x: Tensor, rows: Tensor, channels: int) -> Tensor:
    """Pick rows (bs, k) of x (bs, num_rows, channels)."""
    # A product spares the nodes that an expansion needs.
    ones = torch.ones(channels, dtype=rows.dtype)
    return x.gather(1, rows.unsqueeze(-1) * ones)


def move_boxes(
    boxes: tuple[Tensor, Tensor], deltas: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply (x, y, log w, log h) deltas to centres and sizes."""
    centers, sizes = boxes
    shifts, log_scales = deltas.split(2, dim=-1)
    return shifts * sizes + centers, log_scales.exp() * sizes


class DecoderLayerGraph(nn.Module):
    """:class:`RFDETRDecoderLayer` on rows of queries.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: RFDETRDecoderLayer) -> None:
        super().__init__()
        attn = layer.self_attn
        self.embed_dims = attn.embed_dim
        self.num_heads, self.head_dims = attn.num_heads, attn.head_dim
        query, key, value = (
            linear(weight, bias)
            for weight, bias in zip(
                attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3)
            )
        )
        self.query = scaled_linear(query, attn.head_dim**-0.5)
        self.key, self.value = key, value
        self.out_proj = linear(attn.out_proj.weight, attn.out_proj.bias)
        self.cross_attn = DeformableAttentionGraph(layer.cross_attn)
        self.fc1, self.fc2 = layer.ffn.layers[0][0], layer.ffn.layers[1]
        self.norms = layer.norms

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        grid: SamplingGrid,
        value: Tensor,
        num_queries: int,
    ) -> Tensor:
        """Refine the queries.

        Args:
            query: Shape (bs, num_queries, embed_dims), or the same for all
                images, (num_queries, embed_dims).
            query_pos: Shape (bs, num_queries, embed_dims).
            grid: Where to sample.
            value: What to sample, see :class:`DeformableAttentionGraph`.
            num_queries: Queries of an image.

        Returns:
            Shape (bs, num_queries, embed_dims).
        """
        embed_dims = self.embed_dims
        by_image = (-1, num_queries, embed_dims)
        heads = (num_queries, self.num_heads, self.head_dims)
        key = (query + query_pos).reshape(-1, embed_dims)
        value_rows = self.value(query.reshape(-1, embed_dims))
        attended = attend(
            by_head(self.query(key), *heads),
            by_head(self.key(key), *heads),
            by_head(value_rows, *heads),
            embed_dims,
        )
        query = self.norms[0](
            query + self.out_proj(attended).reshape(by_image)
        )
        key = (query + query_pos).reshape(-1, embed_dims)
        attended = self.cross_attn(key, grid, value)
        query = query.reshape(-1, embed_dims)
        query = self.norms[1](query + attended)
        query = self.norms[2](query + self.fc2(F.relu(self.fc1(query))))
        return query.reshape(by_image)


class DecoderGraph(nn.Module):
    """:class:`RFDETRDecoder` for one group of queries.

    The values of all layers come of one matrix product.

    Args:
        decoder: The decoder.
        num_layers: How many of its layers to run, at least 1.
    """

    def __init__(self, decoder: RFDETRDecoder, num_layers: int) -> None:
        super().__init__()
        self.embed_dims = decoder.embed_dims
        self.norm = decoder.norm
        layers = decoder.layers[:num_layers]
        self.value_proj = merged_linear(
            *(layer.cross_attn.value_proj for layer in layers)
        )
        self.layers = nn.ModuleList(map(DecoderLayerGraph, layers))
        first, self.pos_fc2 = decoder.query_pos_mlp.layers
        num_freqs = decoder.embed_dims // 4
        exponents = torch.arange(num_freqs) / num_freqs
        frequencies = 2 * math.pi / TEMPERATURE**exponents
        constant(self, 'frequencies', frequencies.to(first.weight))
        # mmdet's order is (y, x, w, h), sines and cosines interleaved; here
        # (x, y, w, h), first the sines, then the cosines.
        columns = torch.arange(8 * num_freqs).view(4, num_freqs, 2)
        columns = columns[[1, 0, 2, 3]].transpose(1, 2).flatten()
        self.pos_fc1 = linear(first.weight[:, columns], first.bias)

    def forward(
        self,
        query: Tensor,
        boxes: tuple[Tensor, Tensor],
        tokens: Tensor,
        level_sizes: tuple[tuple[int, int], ...],
        num_queries: int,
    ) -> Tensor:
        """Run all layers.

        Args:
            query: Learned content, shape (num_queries, embed_dims).
            boxes: Centres and sizes, shape (bs, num_queries, 2) each.
            tokens: Maps as rows, shape (bs * num_tokens, embed_dims).
            level_sizes: (h, w) of each level.
            num_queries: Queries of an image.

        Returns:
            Normed queries after the last layer, shape (bs * num_queries,
            embed_dims).
        """
        query_pos = self.positions(boxes, num_queries)
        values = self.values(self.value_proj, tokens, level_sizes)
        grid = SamplingGrid(boxes, level_sizes, num_queries)
        for layer, value in zip(self.layers, values):
            query = layer(query, query_pos, grid, value, num_queries)
        return self.norm(query).reshape(-1, self.embed_dims)

    def positions(
        self, boxes: tuple[Tensor, Tensor], num_queries: int
    ) -> Tensor:
        """Encode boxes.

        Args:
            boxes: Centres and sizes, shape (bs, num_queries, 2) each.
            num_queries: Queries of an image.

        Returns:
            Shape (bs, num_queries, embed_dims).
        """
        angles = torch.cat(boxes, dim=-1).unsqueeze(-1) * self.frequencies
        encoding = torch.cat([angles.sin(), angles.cos()], dim=-1)
        encoding = encoding.reshape(-1, 2 * self.embed_dims)
        query_pos = self.pos_fc2(F.relu(self.pos_fc1(encoding)))
        return query_pos.reshape(-1, num_queries, self.embed_dims)

    def values(
        self,
        projection: nn.Linear,
        tokens: Tensor,
        level_sizes: tuple[tuple[int, int], ...],
    ) -> Sequence[Tensor]:
        """Project what the layers sample.

        Args:
            projection: The one projection of all layers together.
            tokens: Maps as rows, shape (bs * num_tokens, embed_dims).
            level_sizes: (h, w) of each level.

        Returns:
            For each layer, shape (bs, embed_dims, num_tokens).
        """
        num_tokens = sum(h * w for h, w in level_sizes)
        values = projection(tokens).reshape(
            -1, num_tokens, len(self.layers) * self.embed_dims
        )
        return values.transpose(1, 2).split(self.embed_dims, dim=1)
