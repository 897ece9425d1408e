"""RF-DETR's head with keypoints as a graph."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdeploy.core import MODULE_REWRITER
from mmengine.config import Config
from torch import Tensor, nn

from rfdetr_mm.checkpoints.class_rows import choose_our_rows, scatter_rows
from rfdetr_mm.errors import InputError
from rfdetr_mm.models.dense_heads import RFDETRPoseHead
from rfdetr_mm.models.dense_heads.rfdetr_pose_head import TRACE_ALPHA
from rfdetr_mm.models.layers.keypoint_decoder import (
    KeypointDecoder,
    KeypointDecoderLayer,
)
from rfdetr_mm.models.layers.keypoint_schema import CLASS, NUM_CHANNELS
from rfdetr_runtime.facts import KEYPOINTS

from .attention import attend, by_head
from .decoder import DecoderGraph, gather_rows, move_boxes
from .deformable_attention import DeformableAttentionGraph, SamplingGrid
from .fixed_size import constant, linear, merged_linear, scaled_linear
from .head import HeadGraph, HeadResults

BLOCKED = -1e4  # added to a logit of attention; also a number in float16


class KeypointLayerGraph(nn.Module):
    """:class:`KeypointDecoderLayer` on rows of tokens.

    Args:
        layer: The layer.
        decoder: Its decoder, for positions and for who sees whom.
    """

    def __init__(
        self, layer: KeypointDecoderLayer, decoder: KeypointDecoder
    ) -> None:
        super().__init__()
        attn = layer.self_attn
        self.embed_dims = attn.embed_dim
        self.num_keypoints = len(decoder.keypoint_pos)
        self.heads = (1 + self.num_keypoints, attn.num_heads, attn.head_dim)
        query, key, value = (
            linear(weight, bias)
            for weight, bias in zip(
                attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3)
            )
        )
        self.query = scaled_linear(query, attn.head_dim**-0.5)
        self.key, self.value = key, value
        self.out_proj = linear(attn.out_proj.weight, attn.out_proj.bias)
        pos = decoder.keypoint_pos
        constant(self, 'pos', torch.cat([torch.zeros_like(pos[:1]), pos]))
        blocked = decoder.attention_mask
        if blocked is not None:
            blocked = (~blocked).to(pos).detach() * BLOCKED
        self.register_buffer('bias', blocked, persistent=False)
        constant(self, 'instance_scale', layer.instance_scale)
        self.instance_norm, self.norms = layer.instance_norm, layer.norms
        self.cross_attn = DeformableAttentionGraph(layer.cross_attn)
        self.fc1, self.fc2 = layer.fc1, layer.fc2

    def forward(
        self,
        query: Tensor,
        keypoints: Tensor,
        query_pos: Tensor,
        grid: SamplingGrid,
        value: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Refine queries and keypoints.

        Args:
            query: Shape (bs, num_queries, embed_dims).
            keypoints: Shape (bs * num_queries, num_keypoints, embed_dims).
            query_pos: Shape (bs, num_queries, embed_dims).
            grid: Where the keypoints sample.
            value: What they sample, see :class:`DeformableAttentionGraph`.

        Returns:
            Both, in the shapes that they came in.
        """
        embed_dims, num_keypoints = self.embed_dims, self.num_keypoints
        by_query = (-1, 1, embed_dims)
        tokens = torch.cat([query.reshape(by_query), keypoints], dim=1)
        key = (tokens + self.pos).reshape(-1, embed_dims)
        attended = attend(
            by_head(self.query(key), *self.heads),
            by_head(self.key(key), *self.heads),
            by_head(self.value(tokens.reshape(-1, embed_dims)), *self.heads),
            embed_dims,
            self.bias,
        )
        attended = self.out_proj(attended)
        attended = attended.reshape(-1, 1 + num_keypoints, embed_dims)
        instance, others = attended.split([1, num_keypoints], dim=1)
        instance = instance.reshape(
            -1, grid.num_queries // num_keypoints, embed_dims
        )
        query = self.instance_norm(query + instance * self.instance_scale)
        keypoints = self.norms[0](keypoints + others)
        key = (keypoints + query_pos.reshape(by_query)).reshape(-1, embed_dims)
        sampled = self.cross_attn(key, grid, value)
        keypoints = keypoints.reshape(-1, embed_dims)
        keypoints = self.norms[1](keypoints + sampled)
        out = self.fc2(F.relu(self.fc1(keypoints)))
        keypoints = self.norms[2](keypoints + out)
        return query, keypoints.reshape(-1, num_keypoints, embed_dims)


class KeypointDecoderGraph(DecoderGraph):
    """:class:`KeypointDecoder` for one group of queries.

    Args:
        decoder: The decoder.
        num_layers: How many of its layers to run, at least 1.
    """

    def __init__(self, decoder: KeypointDecoder, num_layers: int) -> None:
        super().__init__(decoder, num_layers)
        layers = decoder.keypoint_layers[:num_layers]
        self.num_keypoints = len(decoder.keypoint_pos)
        self.keypoint_value_proj = merged_linear(
            *(layer.cross_attn.value_proj for layer in layers)
        )
        self.keypoint_layers = nn.ModuleList(
            KeypointLayerGraph(layer, decoder) for layer in layers
        )
        constant(self, 'repeats', torch.ones(self.num_keypoints, 1))

    def forward(
        self,
        query: Tensor,
        keypoints: Tensor,
        boxes: tuple[Tensor, Tensor],
        tokens: Tensor,
        keypoint_tokens: Tensor,
        level_sizes: tuple[tuple[int, int], ...],
        num_queries: int,
    ) -> tuple[Tensor, Tensor]:
        """Run all layers.

        Args:
            query: Learned content, shape (num_queries, embed_dims).
            keypoints: The keypoints' own, shape (num_queries, num_keypoints,
                embed_dims).
            boxes: Centres and sizes, shape (bs, num_queries, 2) each.
            tokens: Maps as rows, shape (bs * num_tokens, embed_dims).
            keypoint_tokens: The maps that the keypoints look at, in the
                same shape.
            level_sizes: (h, w) of each level.
            num_queries: Queries of an image.

        Returns:
            After the last layer the normed queries, shape (bs * num_queries,
            embed_dims), and the keypoints, shape (bs * num_queries,
            num_keypoints, embed_dims).
        """
        embed_dims, num_keypoints = self.embed_dims, self.num_keypoints
        query_pos = self.positions(boxes, num_queries)
        values = self.values(self.value_proj, tokens, level_sizes)
        keypoint_values = self.values(
            self.keypoint_value_proj, keypoint_tokens, level_sizes
        )
        grid = SamplingGrid(boxes, level_sizes, num_queries)
        repeated = tuple(
            (part.reshape(-1, num_queries, 1, 2) * self.repeats).reshape(
                -1, num_queries * num_keypoints, 2
            )
            for part in boxes
        )
        keypoint_grid = SamplingGrid(
            repeated, level_sizes, num_queries * num_keypoints
        )
        # The same for every image; a product repeats it without asking how
        # many there are.
        ones = query_pos[:, :1, :1].unsqueeze(-1) * 0 + 1
        keypoints = (keypoints * ones).reshape(-1, num_keypoints, embed_dims)
        for i, layer in enumerate(self.layers):
            query = layer(query, query_pos, grid, values[i], num_queries)
            query, keypoints = self.keypoint_layers[i](
                query, keypoints, query_pos, keypoint_grid, keypoint_values[i]
            )
        return self.norm(query).reshape(-1, embed_dims), keypoints


@MODULE_REWRITER.register_rewrite_module(
    'rfdetr_mm.models.dense_heads.rfdetr_pose_head.RFDETRPoseHead'
)
class PoseHeadGraph(HeadGraph):
    """:class:`RFDETRPoseHead` for one size of the maps.

    Besides boxes it gives keypoints in the padded layout of
    :meth:`RFDETRPoseHead.forward`, of each detection, or 'raw' of each query.
    Scores do not know yet how uncertain keypoints are: whoever reads them
    lowers them, as :mod:`rfdetr_runtime.keypoints` does.

    Args:
        module: The head.
        deploy_cfg: The deploy config.

    Raises:
        InputError: If no decoder layer is run.
    """

    task = KEYPOINTS
    decoder_type = KeypointDecoderGraph

    def __init__(self, module: RFDETRPoseHead, deploy_cfg: Config) -> None:
        super().__init__(module, deploy_cfg)
        if not self.num_layers:
            raise InputError(
                'a keypoint model without decoder layers cannot be exported: '
                'set test_cfg.num_layers to 1 at least'
            )
        self.num_levels = module.decoder.num_levels
        self.total = module.schema.total
        self.num_keypoints = module.schema.counts
        self.trace_alpha = (module.test_cfg or {}).get(
            'trace_alpha', TRACE_ALPHA
        )
        constant(
            self,
            'keypoint_queries',
            module.keypoint_queries(module.query_embedding[0]),
        )
        self.keypoint_branch = module.keypoint_branch.layers
        constant(self, 'places', module.places.flatten())
        constant(
            self,
            'active',
            module.active_keypoints.view(-1, 1).to(module.boosts),
        )
        constant(self, 'boosts', module.boosts)

    def use_class_names(self, class_names: Sequence[str]) -> None:
        """Give raw outputs the class rows of an upstream file.

        Args:
            class_names: In the order of the labels.
        """
        super().use_class_names(class_names)
        if self.layout == 'raw':
            rows, num_rows, _ = choose_our_rows(self.num_classes, class_names)
            boosts = scatter_rows(self.boosts, rows, num_rows, 1, 0.0)
            constant(self, 'boosts', boosts)

    def _maps_of_instances(self, x: Sequence[Tensor]) -> Sequence[Tensor]:
        return x[: self.num_levels]

    def _decode(self, x: Sequence[Tensor]) -> HeadResults:
        num_queries, total = self.num_selected, self.total
        tokens = self._rows_of(x[: self.num_levels])
        keypoint_tokens = tokens
        if len(x) > self.num_levels:
            keypoint_tokens = self._rows_of(x[self.num_levels :])
        boxes, _ = self.selector(tokens, num_queries)
        references = move_boxes(boxes, self.box_deltas[:, :num_queries])
        queries, keypoints = self.decoder(
            self.query[:num_queries],
            self.keypoint_queries[:num_queries],
            references,
            tokens,
            keypoint_tokens,
            self.sizes,
            num_queries,
        )
        deltas = keypoints.reshape(-1, self.embed_dims)
        for i, layer in enumerate(self.keypoint_branch):
            deltas = layer(deltas if i == 0 else F.relu(deltas))
        deltas = deltas.reshape(-1, num_queries, total, NUM_CHANNELS)
        shifts, others = deltas.split([2, NUM_CHANNELS - 2], dim=-1)
        centers, sizes = (
            part.reshape(-1, num_queries, 1, 2) for part in references
        )
        votes = others[..., CLASS - 2] @ self.boosts
        results = self._results(queries, references)
        return results._replace(
            scores=results.scores + votes,
            keypoints=torch.cat([shifts * sizes + centers, others], dim=-1),
        )

    def _others(
        self,
        feats: Tensor,
        results: HeadResults,
        queries: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Padded keypoints of some queries, of all if None."""
        padded = results.keypoints.index_select(2, self.places) * self.active
        num_slots, count = len(self.places), self.num_selected
        if queries is not None:
            channels = num_slots * NUM_CHANNELS
            padded = gather_rows(
                padded.reshape(-1, count, channels), queries, channels
            )
            count = min(self.max_per_img, count * self.num_classes)
        return (padded.reshape(-1, count, num_slots, NUM_CHANNELS),)
