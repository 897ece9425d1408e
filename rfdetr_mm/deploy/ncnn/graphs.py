"""RF-DETR as two graphs for ncnn, between which queries are selected.

ncnn has no operator that sorts or picks rows, so the first graph ends at the
proposals of all cells and the second one begins at the chosen ones. A tensor
of ncnn has four dimensions and no batch: everything has a leading 1 here,
which pnnx takes for the batch and drops.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfdetr_mm.errors import InputError
from rfdetr_runtime.facts import INSTANCE_SEG, KEYPOINTS

from ..backbone import BackboneGraph, BlockGraph
from ..decoder import DecoderGraph, DecoderLayerGraph, move_boxes
from ..deformable_attention import DeformableAttentionGraph
from ..detector import DetectorGraph
from ..head import HeadGraph


def check_graph(model: DetectorGraph, images: Tensor) -> None:
    """Refuse what the two graphs are not made for.

    Args:
        model: The detector.
        images: What it is to take, shape (bs, channels, h_px, w_px).

    Raises:
        InputError: With the way out.
    """
    if model.backbone_only:
        raise InputError(
            'ncnn files are detectors, got backbone_only=True: leave it out, '
            'or take another format'
        )
    if model.bbox_head.task == KEYPOINTS:
        raise InputError(
            'models with keypoints cannot be exported to ncnn: take '
            'ONNX, OpenVINO or TFLite'
        )
    if not model.bbox_head.num_layers:
        raise InputError(
            'a model without decoder layers cannot be exported to ncnn: set '
            'test_cfg.num_layers to 1 at least'
        )
    if len(images) != 1:
        raise InputError(
            f'ncnn takes one image at a time, got batch_size={len(images)}: '
            'leave it out'
        )


class ProposalsGraph(nn.Module):
    """From an image to the proposals of all cells.

    Args:
        detector: The whole graph; it has learned its sizes.
    """

    def __init__(self, detector: DetectorGraph) -> None:
        super().__init__()
        self.backbone, self.neck = detector.backbone, detector.neck
        self.selector = detector.bbox_head.selector

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the graph.

        Args:
            image: Normalised, shape (1, channels, h_px, w_px).

        Returns:
            The best logit of each cell, (1, num_tokens); the cells' features,
            (1, num_tokens, embed_dims); and their boxes, normalised (cx, cy,
            w, h), shape (1, num_tokens, 4).
        """
        maps = self.neck(extract_maps(self.backbone, image))
        rows = [x.flatten(2).transpose(1, 2) for x in maps]
        tokens = torch.cat(rows, dim=1) if len(rows) > 1 else rows[0]
        selector = self.selector
        valid = tokens
        if selector.any_invalid:
            valid = tokens * selector.valid.unsqueeze(0)
        features = selector.norm(selector.proj(valid))
        scores = selector.cls_branch(features).amax(dim=-1)
        deltas = _chain(selector.reg_branch, features)
        proposals = selector.proposals.unsqueeze(0).split(2, dim=-1)
        boxes = torch.cat(move_boxes(proposals, deltas), dim=-1)
        return scores, tokens, boxes


def extract_maps(backbone: BackboneGraph, image: Tensor) -> tuple[Tensor, ...]:
    """Run a backbone on one image.

    Args:
        backbone: It has learned its sizes.
        image: Normalised, shape (1, channels, h_px, w_px).

    Returns:
        Maps of shape (1, embed_dims, grid_h, grid_w).
    """
    num_windows, channels = backbone.windows_per_image, backbone.embed_dims
    per_window = backbone.tokens_per_window
    patches = backbone.patch_embed(image).permute(0, 2, 3, 1)
    windows = _swap_rows_and_windows(backbone, patches, windowed=False)
    num_patches = per_window - backbone.num_prefix_tokens
    windows = windows.reshape(1, num_windows, num_patches, channels)
    # Rows of zeros, to which the table adds the prefix tokens
    windows = F.pad(windows, (0, 0, backbone.num_prefix_tokens, 0))
    tokens = windows + backbone.table.unsqueeze(0)
    tokens = tokens.reshape(1, num_windows * per_window, channels)
    maps = []
    for i, block in enumerate(backbone.blocks):
        groups = (num_windows, per_window)
        if i in backbone.global_attn_indices:
            groups = (1, num_windows * per_window)
        tokens = _run_block(block, tokens, *groups)
        if i in backbone.out_indices:
            windows = tokens.reshape(1, num_windows, per_window, channels)
            patches = backbone.norm(windows[:, :, -num_patches:])
            patches = _swap_rows_and_windows(backbone, patches, windowed=True)
            patches = patches.reshape(1, *backbone.grid, channels)
            maps.append(patches.permute(0, 3, 1, 2))
    return tuple(maps)


def _run_block(
    block: BlockGraph, tokens: Tensor, num_groups: int, num_tokens: int
) -> Tensor:
    """Run a block on (1, num_groups * num_tokens, embed_dims)."""
    normed = block.norm1(tokens)
    attended = attend(
        block.query(normed),
        block.key(normed),
        block.value(normed),
        (num_groups, num_tokens, block.num_heads, block.head_dims),
    )
    tokens = tokens + block.proj(attended)
    return tokens + block.fc2(F.gelu(block.fc1(block.norm2(tokens))))


def _swap_rows_and_windows(
    backbone: BackboneGraph, x: Tensor, windowed: bool
) -> Tensor:
    """Change between row-major order of the image and of the windows.

    One row of a window moves as a whole, so that four dimensions do.
    """
    side = backbone.num_windows
    if side == 1:
        return x
    grid_h, grid_w = backbone.grid
    sides = (grid_h // side, side)
    return x.reshape(
        1,
        side,
        *(sides[::-1] if windowed else sides),
        grid_w // side * backbone.embed_dims,
    ).transpose(2, 3)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sizes: tuple[int, int, int, int],
) -> Tensor:
    """Weight values by the softmax of queries times keys, group by group.

    Args:
        query: Divided by sqrt(head_dims), shape (1, num_groups * num_tokens,
            num_heads * head_dims).
        key: In the same shape.
        value: In the same shape.
        sizes: num_groups, whose rows do not see each other, num_tokens,
            num_heads and head_dims.

    Returns:
        In the same shape.
    """
    num_groups, num_tokens, num_heads, head_dims = sizes

    def by_head(rows: Tensor) -> Tensor:
        if num_groups == 1:
            heads = rows.reshape(1, num_tokens, num_heads, head_dims)
            return heads.transpose(1, 2)
        heads = rows.reshape(1, *sizes).transpose(2, 3)
        return heads.reshape(1, num_groups * num_heads, num_tokens, head_dims)

    logits = by_head(query) @ by_head(key).transpose(2, 3)
    out = logits.softmax(dim=-1) @ by_head(value)
    if num_groups > 1:
        out = out.reshape(1, num_groups, num_heads, num_tokens, head_dims)
    rows = out.transpose(-3, -2)
    return rows.reshape(1, num_groups * num_tokens, num_heads * head_dims)


class DetectionsGraph(nn.Module):
    """From the chosen proposals to boxes, logits and masks.

    Args:
        detector: The whole graph; it has learned its sizes.
    """

    def __init__(self, detector: DetectorGraph) -> None:
        super().__init__()
        self.head = detector.bbox_head

    def forward(self, tokens: Tensor, boxes: Tensor) -> tuple[Tensor, ...]:
        """Run the graph.

        Args:
            tokens: The cells' features, shape (1, num_tokens, embed_dims).
            boxes: The boxes of the chosen cells, normalised (cx, cy, w, h),
                shape (1, num_queries, 4).

        Returns:
            Boxes in the same form and shape; logits, shape (1, num_queries,
            rows); logits of the masks, shape (1, num_queries, mask_h,
            mask_w), if the head has masks.
        """
        head, count = self.head, self.head.num_selected
        references = move_boxes(
            boxes.split(2, dim=-1), head.box_deltas[:, :count]
        )
        queries = decode(head.decoder, head, references, tokens)
        deltas = _chain(head.reg_branch, queries)
        boxes = torch.cat(move_boxes(references, deltas), dim=-1)
        outputs = (boxes, head.cls_branch(queries))
        if head.task == INSTANCE_SEG:
            return *outputs, self._masks(tokens, queries)
        return outputs

    def _masks(self, tokens: Tensor, queries: Tensor) -> Tensor:
        head, (height, width) = self.head, self.head.sizes[0]
        rows = tokens[:, : height * width].transpose(1, 2)
        feats = rows.reshape(1, head.embed_dims, height, width)
        size = [int(side * head.upsample_ratio) for side in (height, width)]
        feats = F.interpolate(
            feats, size=size, mode='bilinear', align_corners=False
        )
        for block in head.mask_blocks:
            feats = block(feats)
        feats = head.feature_proj(feats).flatten(2)
        of_queries = head.query_proj(head.query_ffn(queries))
        masks = of_queries @ feats + head.mask_bias
        return masks.reshape(1, head.num_selected, *size)


def decode(
    decoder: DecoderGraph,
    head: HeadGraph,
    references: tuple[Tensor, Tensor],
    tokens: Tensor,
) -> Tensor:
    """Run all layers of a decoder on one image.

    Args:
        decoder: The decoder.
        head: Its head, for the learned queries and the sizes of the maps.
        references: Centres and sizes of the boxes, shape (1, num_queries, 2)
            each.
        tokens: Shape (1, num_tokens, embed_dims).

    Returns:
        Normed queries, shape (1, num_queries, embed_dims).
    """
    count, embed_dims = head.num_selected, head.embed_dims
    boxes = torch.cat(references, dim=-1).unsqueeze(-1)
    angles = boxes * decoder.frequencies
    encoding = torch.cat([angles.sin(), angles.cos()], dim=-1)
    encoding = encoding.reshape(1, count, 2 * embed_dims)
    query_pos = decoder.pos_fc2(F.relu(decoder.pos_fc1(encoding)))
    values = decoder.value_proj(tokens).transpose(1, 2)
    values = values.split(embed_dims, dim=1)
    # In grid_sample's coordinates: -1 and 1 are the borders of the map.
    grid = tuple(
        part.unsqueeze(2) for part in (references[0] * 2 - 1, references[1])
    )
    query = head.query[:count].unsqueeze(0)
    for layer, value in zip(decoder.layers, values):
        query = _run_layer(
            layer, query, query_pos, grid, value, head.sizes, count
        )
    return decoder.norm(query)


def _run_layer(
    layer: DecoderLayerGraph,
    query: Tensor,
    query_pos: Tensor,
    grid: tuple[Tensor, Tensor],
    value: Tensor,
    level_sizes: Sequence[tuple[int, int]],
    num_queries: int,
) -> Tensor:
    """Refine queries (1, num_queries, embed_dims)."""
    key = query + query_pos
    attended = attend(
        layer.query(key),
        layer.key(key),
        layer.value(query),
        (1, num_queries, layer.num_heads, layer.head_dims),
    )
    query = layer.norms[0](query + layer.out_proj(attended))
    key = query + query_pos
    attended = sample(
        layer.cross_attn, key, grid, value, level_sizes, num_queries
    )
    query = layer.norms[1](query + attended)
    return layer.norms[2](query + layer.fc2(F.relu(layer.fc1(query))))


def sample(
    attention: DeformableAttentionGraph,
    query: Tensor,
    grid: tuple[Tensor, Tensor],
    value: Tensor,
    level_sizes: Sequence[tuple[int, int]],
    num_queries: int,
) -> Tensor:
    """Sample around boxes, head after head.

    ncnn's GridSample has one grid for all channels, and each head has its own.

    Args:
        attention: The layer.
        query: Content plus position, shape (1, num_queries, embed_dims).
        grid: Centres of the boxes in grid_sample's coordinates, and their
            sizes, shape (1, num_queries, 1, 2) each.
        value: Projected maps of all levels, shape (1, embed_dims,
            num_tokens).
        level_sizes: (h, w) of each level.
        num_queries: Their number.

    Returns:
        Shape (1, num_queries, embed_dims).
    """
    embed_dims = attention.output_proj.in_features
    heads, points = attention.num_heads, attention.num_points
    samples = len(level_sizes) * points
    offsets, weights = attention.offsets_weights(query).split(
        [2 * heads * samples, heads * samples], dim=-1
    )
    centers, sizes = grid
    offsets = offsets.reshape(1, num_queries, heads * samples, 2)
    locations = (offsets * sizes + centers).split(points, dim=2)
    weights = weights.reshape(1, num_queries, heads, samples).softmax(dim=-1)
    # (1, heads, 1, num_queries * samples)
    weights = weights.transpose(1, 2).reshape(
        1, heads, 1, num_queries * samples
    )
    lengths = [h * w for h, w in level_sizes]
    levels = value.split(lengths, dim=2) if len(lengths) > 1 else [value]
    maps = [
        level.reshape(1, embed_dims, h, w).split(embed_dims // heads, dim=1)
        for level, (h, w) in zip(levels, level_sizes)
    ]
    sampled = []
    for head in range(heads):
        at = locations[head * len(maps) : (head + 1) * len(maps)]
        of_levels = [
            F.grid_sample(level[head], here, align_corners=False)
            for level, here in zip(maps, at)
        ]
        sampled.append(
            torch.cat(of_levels, dim=-1)
            if len(of_levels) > 1
            else of_levels[0]
        )
    # (1, embed_dims, num_queries, samples)
    out = torch.cat(sampled, dim=1)
    by_head = (1, heads, embed_dims // heads, num_queries * samples)
    out = out.reshape(by_head) * weights
    out = out.reshape(1, embed_dims, num_queries, samples).sum(dim=-1)
    return attention.output_proj(out.transpose(1, 2))


def _chain(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Run linear layers with ReLU between them."""
    for i, layer in enumerate(layers):
        x = layer(x if i == 0 else F.relu(x))
    return x
