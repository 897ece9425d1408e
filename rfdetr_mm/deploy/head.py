"""RF-DETR's heads as graphs that end in detections or in raw outputs."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdeploy.core import MODULE_REWRITER
from mmdeploy.utils import get_codebase_config
from mmengine.config import Config
from torch import Tensor

from rfdetr_mm.checkpoints.class_rows import (
    SPARE_ROW_BIAS,
    choose_our_rows,
    scatter_rows,
)
from rfdetr_mm.models.dense_heads import RFDETRHead, RFDETRInsHead
from rfdetr_mm.models.loading.query_rows import count_to_run
from rfdetr_runtime.facts import DETECTION, INSTANCE_SEG

from .decoder import (
    DecoderGraph,
    SelectorGraph,
    gather_rows,
    move_boxes,
    top_k,
)
from .fixed_size import FixedSizeModule, constant, linear


class HeadResults(NamedTuple):
    """Of the last decoder layer.

    Attributes:
        queries: Normed, shape (bs * num_queries, embed_dims).
        centers: Centres of the boxes, normalised, shape (bs,
            num_queries, 2).
        sizes: Widths and heights of the boxes, normalised, shape (bs,
            num_queries, 2).
        scores: Logits, shape (bs, num_queries, num_classes).
        keypoints: Compact, x and y normalised, shape (bs, num_queries,
            num_keypoints, 8), if the head has any.
    """

    queries: Tensor
    centers: Tensor
    sizes: Tensor
    scores: Tensor
    keypoints: Tensor | None = None


@MODULE_REWRITER.register_rewrite_module(
    'rfdetr_mm.models.dense_heads.rfdetr_head.RFDETRHead'
)
class HeadGraph(FixedSizeModule):
    """:class:`RFDETRHead` for one size of the maps.

    ``codebase_config.output_layout`` says what it gives: 'end2end'
    (default) the best detections, 'raw' what rfdetr's own exports give.

    Args:
        module: The head.
        deploy_cfg: The deploy config.
    """

    task = DETECTION
    decoder_type = DecoderGraph

    def __init__(self, module: RFDETRHead, deploy_cfg: Config) -> None:
        super().__init__()
        self.layout = get_codebase_config(deploy_cfg).get(
            'output_layout', 'end2end'
        )
        self.num_classes = module.num_classes
        self.num_queries = count_to_run(module, 'num_queries')
        self.num_layers = count_to_run(module, 'num_layers')
        self.max_per_img = (module.test_cfg or {}).get(
            'max_per_img', module.num_queries
        )
        self.selector = SelectorGraph(module.query_selector)
        if self.num_layers:
            self.decoder = self.decoder_type(module.decoder, self.num_layers)
        self.embed_dims = module.query_embedding.shape[-1]
        self.num_rows = module.num_classes
        constant(self, 'query', module.query_embedding[0])
        constant(self, 'box_deltas', module.query_box_deltas[:1])
        # Without decoder layers the proposals are the predictions.
        self.cls_branch = (
            module.cls_branch if self.num_layers else self.selector.cls_branch
        )
        self.reg_branch = module.reg_branch.layers

    def use_class_names(self, class_names: Sequence[str]) -> None:
        """Give raw outputs the class rows of an upstream file.

        Args:
            class_names: Names of the classes, in the order of the labels.
        """
        if self.layout != 'raw':
            return
        rows, num_rows, _ = choose_our_rows(self.num_classes, class_names)
        weight, bias = (
            scatter_rows(value.detach(), rows, num_rows, 0, fill)
            for value, fill in (
                (self.cls_branch.weight, 0.0),
                (self.cls_branch.bias, SPARE_ROW_BIAS),
            )
        )
        self.cls_branch = linear(weight, bias)
        self.num_rows = num_rows

    def build_constants(self) -> None:
        """Place the proposals and cut the queries to what the maps give."""
        embed_dims = self.embed_dims
        self.selector.build_constants(
            [self.query.new_zeros(1, embed_dims, *s) for s in self.sizes]
        )
        num_tokens = sum(h * w for h, w in self.sizes)
        self.num_selected = min(self.num_queries, num_tokens)

    def predict(
        self,
        x: Sequence[Tensor],
        batch_data_samples: Sequence | None = None,
        rescale: bool = False,
        img_size: tuple[int, int] | None = None,
    ) -> tuple[Tensor, ...]:
        """Detect objects.

        Args:
            x: Maps, one for each level, shape (bs, embed_dims, h, w).
            batch_data_samples: Part of mmdet's interface; ``img_shape`` of the
                first gives the size if ``img_size`` does not.
            rescale: Part of mmdet's interface; boxes are in pixels of the
                input.
            img_size: (h, w) of the input in pixels.

        Returns:
            'end2end': boxes and scores (bs, k, 5), (x1, y1, x2, y2) in
            pixels of the input, best first, and labels (bs, k). 'raw':
            boxes (bs, num_queries, 4), normalised (cx, cy, w, h), and
            logits (bs, num_queries, rows). A head with masks also gives
            their logits (bs, k, mask_h, mask_w), one with keypoints those
            (bs, k, num_slots, 8), 'raw' of all queries.
        """
        self.remember_sizes(*self._maps_of_instances(x))
        if img_size is None:
            img_size = batch_data_samples[0].metainfo['img_shape']
        results = self._decode(x)
        if self.layout == 'raw':
            boxes = torch.cat([results.centers, results.sizes], dim=-1)
            return boxes, results.scores, *self._others(x[0], results)
        dets, labels, queries = self._best(results, img_size)
        return dets, labels, *self._others(x[0], results, queries)

    def _maps_of_instances(self, x: Sequence[Tensor]) -> Sequence[Tensor]:
        return x

    def _decode(self, x: Sequence[Tensor]) -> HeadResults:
        num_queries = self.num_selected
        tokens = self._rows_of(x)
        boxes, queries = self.selector(tokens, num_queries)
        if self.num_layers:
            references = move_boxes(boxes, self.box_deltas[:, :num_queries])
            queries = self.decoder(
                self.query[:num_queries],
                references,
                tokens,
                self.sizes,
                num_queries,
            )
            return self._results(queries, references)
        return HeadResults(queries, *boxes, self._scores(queries))

    def _rows_of(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of all levels as rows, (bs * num_tokens, embed_dims)."""
        tokens = [
            level.reshape(-1, self.embed_dims, h * w).transpose(1, 2)
            for level, (h, w) in zip(maps, self.sizes)
        ]
        tokens = torch.cat(tokens, dim=1) if len(maps) > 1 else tokens[0]
        return tokens.reshape(-1, self.embed_dims)

    def _results(
        self, queries: Tensor, references: tuple[Tensor, Tensor]
    ) -> HeadResults:
        """Boxes and logits of decoded queries."""
        deltas = queries
        for i, layer in enumerate(self.reg_branch):
            deltas = layer(deltas if i == 0 else F.relu(deltas))
        deltas = deltas.reshape(-1, self.num_selected, 4)
        boxes = move_boxes(references, deltas)
        return HeadResults(queries, *boxes, self._scores(queries))

    def _scores(self, queries: Tensor) -> Tensor:
        scores = self.cls_branch(queries)
        return scores.reshape(-1, self.num_selected, self.num_rows)

    def _others(
        self,
        feats: Tensor,
        results: HeadResults,
        queries: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """What else some queries have, all if None; here it is nothing."""
        return ()

    def _best(
        self, results: HeadResults, img_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes and scores, labels, and the query of each detection."""
        num_pairs = self.num_selected * self.num_classes
        scores, order = top_k(
            results.scores.sigmoid().reshape(-1, num_pairs),
            min(self.max_per_img, num_pairs),
        )
        queries = torch.div(order, self.num_classes, rounding_mode='trunc')
        labels = order - queries * self.num_classes
        half = results.sizes * 0.5
        corners = torch.cat(
            [results.centers - half, results.centers + half], dim=-1
        )
        height, width = img_size
        size_px = corners.new_tensor([width, height, width, height])
        corners = gather_rows(corners, queries, 4) * size_px
        corners = torch.min(corners.clamp(min=0), size_px)
        dets = torch.cat([corners, scores.unsqueeze(-1)], dim=-1)
        return dets, labels, queries


@MODULE_REWRITER.register_rewrite_module(
    'rfdetr_mm.models.dense_heads.rfdetr_ins_head.RFDETRInsHead'
)
class InsHeadGraph(HeadGraph):
    """:class:`RFDETRInsHead` for one size of the maps.

    Masks stay logits at their own size, which is smaller than the image's:
    whoever reads them resizes bilinearly and takes what is above 0.

    Args:
        module: The head.
        deploy_cfg: The deploy config.
    """

    task = INSTANCE_SEG

    def __init__(self, module: RFDETRInsHead, deploy_cfg: Config) -> None:
        super().__init__(module, deploy_cfg)
        branch = module.mask_branch
        self.upsample_ratio = branch.upsample_ratio
        self.mask_blocks = branch.blocks[: self.num_layers]
        self.feature_proj = branch.feature_proj
        self.query_ffn = branch.query_ffn
        self.query_proj = branch.query_proj
        constant(self, 'mask_bias', branch.bias)

    def _others(
        self,
        feats: Tensor,
        results: HeadResults,
        queries: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Mask logits (bs, count, mask_h, mask_w) of some queries, or all."""
        embed_dims, count = self.embed_dims, self.num_selected
        of_queries = self.query_proj(self.query_ffn(results.queries))
        of_queries = of_queries.reshape(-1, count, embed_dims)
        if queries is not None:
            of_queries = gather_rows(of_queries, queries, embed_dims)
            count = min(self.max_per_img, count * self.num_classes)
        size = [int(side * self.upsample_ratio) for side in self.sizes[0]]
        feats = self._enlarge(feats, size)
        for block in self.mask_blocks:
            feats = block(feats)
        feats = self.feature_proj(feats).reshape(
            -1, embed_dims, size[0] * size[1]
        )
        masks = of_queries @ feats + self.mask_bias
        return (masks.reshape(-1, count, *size),)

    def _enlarge(self, feats: Tensor, size: list[int]) -> Tensor:
        factors = {out / side for out, side in zip(size, self.sizes[0])}
        # A factor spares the nodes that ask for batch size and channels.
        by = dict(size=size)
        if factors == {self.upsample_ratio}:
            by = dict(scale_factor=self.upsample_ratio)
        return F.interpolate(feats, mode='bilinear', align_corners=False, **by)
