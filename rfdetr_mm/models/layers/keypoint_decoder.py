"""The decoder with keypoint tokens beside every query."""

from typing import Any

import torch
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

from ..autograd.relu_mlp import relu_mlp
from .decoder import QuerySelfAttention, RFDETRDecoder
from .decoder_memory import DecoderMemory
from .deformable_attention import DeformableAttention
from .keypoint_schema import KeypointSchema


class KeypointDecoderLayer(nn.Module):
    """What follows a decoder layer: an instance talks to its keypoints.

    Post-norm: self-attention among an instance and its keypoints, then for
    the keypoints sampling around the instance's box, and an FFN.

    Args:
        embed_dims: Channels of queries and keypoints.
        num_levels: Maps in the memory.
        self_attn_num_heads: Heads of the self-attention.
        cross_attn_num_heads: Heads of the deformable attention.
        num_points: Sampled points per head and level.

    Source: GroupPose (arXiv 2308.07313); rfdetr 1.11.2,
        TransformerDecoderLayer with enable_keypoint_processing.
    """

    def __init__(
        self,
        embed_dims: int,
        num_levels: int,
        self_attn_num_heads: int,
        cross_attn_num_heads: int,
        num_points: int,
    ) -> None:
        super().__init__()
        self.self_attn = QuerySelfAttention(embed_dims, self_attn_num_heads)
        self.instance_scale = nn.Parameter(torch.full((1,), 1e-6))
        self.instance_norm = nn.LayerNorm(embed_dims)
        self.fc1 = nn.Linear(embed_dims, 4 * embed_dims)
        self.fc2 = nn.Linear(4 * embed_dims, embed_dims)
        self.norms = nn.ModuleList(nn.LayerNorm(embed_dims) for _ in range(3))
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
        self.cross_attn = DeformableAttention(
            embed_dims, cross_attn_num_heads, num_levels, num_points
        )

    def forward(
        self,
        query: Tensor,
        keypoints: Tensor,
        query_pos: Tensor,
        keypoint_pos: Tensor,
        mask: Tensor | None,
        reference_boxes: Tensor,
        memory: DecoderMemory,
    ) -> tuple[Tensor, Tensor]:
        """Refine queries and keypoints.

        Args:
            query: Shape (bs, num_queries, embed_dims).
            keypoints: Shape (bs, num_queries, num_keypoints, embed_dims).
            query_pos: Shape (bs, num_queries, embed_dims).
            keypoint_pos: Shape (num_keypoints, embed_dims).
            mask: See :meth:`KeypointSchema.attention_mask`.
            reference_boxes: Boxes of the queries, shape (bs, num_queries,
                num_levels, 4), see :class:`DeformableAttention`.
            memory: The maps that the keypoints look at.

        Returns:
            Both, in the shapes that they came in.
        """
        num_keypoints = keypoints.shape[2]
        # An instance has no position among its keypoints.
        pos = torch.cat([torch.zeros_like(keypoint_pos[:1]), keypoint_pos])
        tokens = torch.cat([query.unsqueeze(2), keypoints], dim=2)
        attended = self.self_attn(tokens.flatten(0, 1), pos, mask)
        attended = attended.view_as(tokens)
        query = self.instance_norm(
            query + attended[:, :, 0] * self.instance_scale
        )
        keypoints = self.norms[0](keypoints + attended[:, :, 1:])
        references = reference_boxes.unsqueeze(2)
        references = references.expand(-1, -1, num_keypoints, -1, -1)
        sampled = self.cross_attn(
            (keypoints + query_pos.unsqueeze(2)).flatten(1, 2),
            references.flatten(1, 2),
            memory,
        )
        keypoints = self.norms[1](keypoints + sampled.view_as(keypoints))
        out = relu_mlp(keypoints, [self.fc1, self.fc2])
        return query, self.norms[2](keypoints + out)


class KeypointDecoder(RFDETRDecoder):
    """:class:`RFDETRDecoder` with keypoint tokens.

    Args:
        num_layers: Decoder layers.
        schema: Keypoints of the classes.
        num_levels: Maps in the memory.
        self_attn_num_heads: Heads of the self-attentions.
        cross_attn_num_heads: Heads of the deformable attentions.
        num_points: Sampled points per head and level.
        **kwargs: Arguments of :class:`RFDETRDecoder`.

    Source: GroupPose (arXiv 2308.07313); rfdetr 1.11.2, TransformerDecoder
        with enable_keypoint_processing.
    """

    def __init__(
        self,
        num_layers: int,
        schema: KeypointSchema,
        num_levels: int = 1,
        self_attn_num_heads: int = 8,
        cross_attn_num_heads: int = 16,
        num_points: int = 2,
        **kwargs: Any,
    ) -> None:
        shared = dict(
            num_levels=num_levels,
            self_attn_num_heads=self_attn_num_heads,
            cross_attn_num_heads=cross_attn_num_heads,
            num_points=num_points,
        )
        super().__init__(num_layers, **shared, **kwargs)
        self.keypoint_layers = nn.ModuleList(
            KeypointDecoderLayer(self.embed_dims, **shared)
            for _ in range(num_layers)
        )
        self.keypoint_pos = nn.Parameter(
            torch.empty(schema.total, self.embed_dims)
        )
        nn.init.xavier_uniform_(self.keypoint_pos)
        self.register_buffer(
            'attention_mask', schema.attention_mask(), persistent=False
        )

    def forward(
        self,
        query: Tensor,
        keypoints: Tensor,
        reference_boxes: Tensor,
        memory: DecoderMemory,
        keypoint_memory: DecoderMemory,
        num_groups: int,
        num_layers: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run the layers.

        Args:
            query: Shape (bs, num_groups * num_queries, embed_dims).
            keypoints: Shape (bs, num_groups * num_queries, num_keypoints,
                embed_dims).
            reference_boxes: Normalised (cx, cy, w, h) relative to the
                unpadded image, not clamped, shape (bs, num_groups *
                num_queries, 4).
            memory: Maps as tokens.
            keypoint_memory: Maps of the same sizes that the keypoints look
                at.
            num_groups: Groups that must not see each other.
            num_layers: How many layers to run, from the first on, at least
                1; all if None.

        Returns:
            Of every layer the normed queries, shape (num_layers, bs,
            num_groups * num_queries, embed_dims), and the keypoints, shape
            (num_layers, bs, num_groups * num_queries, num_keypoints,
            embed_dims).

        Raises:
            InputError: If the maps have other sizes.
        """
        if keypoint_memory.spatial_shapes != memory.spatial_shapes:
            raise InputError(
                'the maps for keypoints must have the sizes of the others, '
                f'got {keypoint_memory.spatial_shapes} and '
                f'{memory.spatial_shapes}: give both projectors the same '
                'scale_factors'
            )
        references, query_pos = self._positions(reference_boxes, memory)
        hidden_states, keypoint_states = [], []
        for layer, keypoint_layer in zip(
            self.layers[:num_layers], self.keypoint_layers
        ):
            query = layer(query, query_pos, references, memory, num_groups)
            query, keypoints = keypoint_layer(
                query,
                keypoints,
                query_pos,
                self.keypoint_pos,
                self.attention_mask,
                references,
                keypoint_memory,
            )
            hidden_states.append(self.norm(query))
            keypoint_states.append(keypoints)
        return torch.stack(hidden_states), torch.stack(keypoint_states)
