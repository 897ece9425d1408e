"""Group-DETR decoder with references that stay the same in all layers."""

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmdet.models.layers import MLP, coordinate_to_encoding
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

from ..autograd.recompute import recompute
from ..autograd.relu_mlp import relu_mlp
from .attend import attend
from .decoder_memory import DecoderMemory
from .deformable_attention import DeformableAttention


class QuerySelfAttention(nn.MultiheadAttention):
    """Self-attention of queries that adds positions to keys and queries.

    PyTorch's layer turns its inputs around (tokens first) and back, and keeps
    a copy each time for the backward pass; this one leaves them as they are.

    Args:
        embed_dims: Channels of a query.
        num_heads: Attention heads; they share ``embed_dims`` evenly.

    Source: DETR (arXiv 2005.12872), positions added to queries and keys;
        rfdetr 1.11.2, TransformerDecoderLayer.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__(embed_dims, num_heads, batch_first=True)

    def forward(
        self, content: Tensor, pos: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Attend within each row of the batch.

        Args:
            content: The values; queries and keys with ``pos`` added. Shape
                (bs, num_queries, embed_dims).
            pos: Same shape, or one that broadcasts to it.
            mask: True where a query may look at another, shape (num_queries,
                num_queries); None for everywhere.

        Returns:
            Same shape as ``content``.
        """
        weights = self.in_proj_weight.tensor_split([2 * self.embed_dim])
        biases = self.in_proj_bias.tensor_split([2 * self.embed_dim])
        # The sum is not kept for the backward pass.
        both = recompute(_linear_of_sum, content, pos, weights[0], biases[0])
        query, key = both.chunk(2, dim=-1)
        value = F.linear(content, weights[1], biases[1])
        return self.out_proj(attend(query, key, value, self.num_heads, mask))


def _linear_of_sum(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    return F.linear(x + y, weight, bias)


class RFDETRDecoderLayer(nn.Module):
    """Post-norm layer: self-attention within a group, sampling, FFN.

    Args:
        embed_dims: Channels of a query.
        num_levels: Maps in the memory.
        self_attn_num_heads: Heads of the self-attention.
        cross_attn_num_heads: Heads of the deformable attention.
        num_points: Sampled points per head and level.
        feedforward_channels: Hidden channels of the FFN.

    Source: rfdetr 1.11.2, TransformerDecoderLayer.
    """

    def __init__(
        self,
        embed_dims: int,
        num_levels: int,
        self_attn_num_heads: int,
        cross_attn_num_heads: int,
        num_points: int,
        feedforward_channels: int,
    ) -> None:
        super().__init__()
        self.self_attn = QuerySelfAttention(embed_dims, self_attn_num_heads)
        self.cross_attn = DeformableAttention(
            embed_dims, cross_attn_num_heads, num_levels, num_points
        )
        self.ffn = FFN(embed_dims, feedforward_channels, ffn_drop=0.0)
        self.norms = nn.ModuleList(nn.LayerNorm(embed_dims) for _ in range(3))
        for weight in (*self.self_attn.parameters(), *self.ffn.parameters()):
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        reference_boxes: Tensor,
        memory: DecoderMemory,
        num_groups: int,
    ) -> Tensor:
        """Refine the queries.

        Args:
            query: Shape (bs, num_groups * num_queries, embed_dims).
            query_pos: Same shape.
            reference_boxes: Shape (bs, num_groups * num_queries,
                num_levels, 4), see :class:`DeformableAttention`.
            memory: Maps as tokens.
            num_groups: Groups that must not see each other.

        Returns:
            Same shape as ``query``.
        """
        # Groups become rows of the batch: (bs * num_groups, q, C)
        bs, _, embed_dims = query.shape
        content, pos = (
            x.reshape(bs * num_groups, -1, embed_dims)
            for x in (query, query_pos)
        )
        attended = self.self_attn(content, pos)
        query = self.norms[0](query + attended.reshape(query.shape))
        attended = self.cross_attn(query + query_pos, reference_boxes, memory)
        query = self.norms[1](query + attended)
        fc1, fc2 = self.ffn.layers[0][0], self.ffn.layers[1]
        return self.norms[2](query + relu_mlp(query, [fc1, fc2]))


class RFDETRDecoder(nn.Module):
    """Stack of decoder layers over fixed reference boxes.

    Args:
        num_layers: Decoder layers.
        embed_dims: Channels of a query.
        num_levels: Maps in the memory.
        self_attn_num_heads: Heads of the self-attention.
        cross_attn_num_heads: Heads of the deformable attention.
        num_points: Sampled points per head and level.
        feedforward_channels: Hidden channels of the FFN.

    Raises:
        InputError: If heads do not share ``embed_dims`` evenly.

    Source: LW-DETR (arXiv 2406.03459); rfdetr 1.11.2, TransformerDecoder
        with lite_refpoint_refine.
    """

    def __init__(
        self,
        num_layers: int,
        embed_dims: int,
        num_levels: int = 1,
        self_attn_num_heads: int = 8,
        cross_attn_num_heads: int = 16,
        num_points: int = 2,
        feedforward_channels: int = 2048,
    ) -> None:
        super().__init__()
        for name, heads in (
            ('self_attn_num_heads', self_attn_num_heads),
            ('cross_attn_num_heads', cross_attn_num_heads),
        ):
            if heads < 1 or embed_dims % heads:
                raise InputError(
                    f'decoder.{name} must divide embed_dims={embed_dims}, '
                    f'got {heads}'
                )
        self.embed_dims = embed_dims
        self.num_levels = num_levels
        self.layers = nn.ModuleList(
            RFDETRDecoderLayer(
                embed_dims,
                num_levels,
                self_attn_num_heads,
                cross_attn_num_heads,
                num_points,
                feedforward_channels,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims)
        self.query_pos_mlp = MLP(
            2 * embed_dims, embed_dims, embed_dims, num_layers=2
        )
        for layer in self.query_pos_mlp.layers:
            nn.init.xavier_uniform_(layer.weight)

    def forward(
        self,
        query: Tensor,
        reference_boxes: Tensor,
        memory: DecoderMemory,
        num_groups: int,
        num_layers: int | None = None,
    ) -> Tensor:
        """Run the layers.

        Args:
            query: Shape (bs, num_groups * num_queries, embed_dims).
            reference_boxes: Normalised (cx, cy, w, h) relative to the
                unpadded image, not clamped, shape (bs, num_groups *
                num_queries, 4).
            memory: Maps as tokens.
            num_groups: Groups that must not see each other.
            num_layers: How many layers to run, from the first on, at least
                1; all if None.

        Returns:
            Normed output of every layer, shape (num_layers, bs, num_groups
            * num_queries, embed_dims).
        """
        references, query_pos = self._positions(reference_boxes, memory)
        hidden_states = []
        for layer in self.layers[:num_layers]:
            query = layer(query, query_pos, references, memory, num_groups)
            hidden_states.append(self.norm(query))
        return torch.stack(hidden_states)

    def _positions(
        self, reference_boxes: Tensor, memory: DecoderMemory
    ) -> tuple[Tensor, Tensor]:
        """Boxes relative to each padded level, and encodings of the first.

        Returns:
            Shape (bs, num_queries, num_levels, 4), and shape (bs,
            num_queries, embed_dims).
        """
        ratios = memory.valid_ratios  # (bs, num_levels, 2)
        references = reference_boxes[:, :, None] * torch.cat(
            [ratios, ratios], dim=-1
        ).unsqueeze(1)
        return references, recompute(self._query_pos, references[:, :, 0])

    def _query_pos(self, reference_boxes: Tensor) -> Tensor:
        """(bs, num_queries, 4) to (bs, num_queries, embed_dims)."""
        encoding = coordinate_to_encoding(
            reference_boxes, num_feats=self.embed_dims // 2
        )
        return self.query_pos_mlp(encoding)
