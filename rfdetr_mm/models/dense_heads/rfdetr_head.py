"""RF-DETR's head: select queries, decode, classify and place boxes."""

import math
from collections.abc import Sequence

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.layers import MLP
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import OptSampleList, SampleList
from mmdet.structures.bbox import (
    bbox_cxcywh_to_xyxy,
    bbox_overlaps,
)
from mmdet.utils import (
    InstanceList,
    OptConfigType,
    OptMultiConfig,
)
from mmengine.structures import InstanceData
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

from ..autograd.relu_mlp import relu_mlp
from ..layers.box_deltas import apply_box_deltas
from ..layers.decoder import RFDETRDecoder
from ..layers.decoder_memory import DecoderMemory, build_memory
from ..layers.image_size import image_sizes_px
from ..layers.query_selector import QuerySelector, SelectedProposals
from ..loading.query_rows import (
    count_to_run,
    cut_query_rows,
    refuse_other_classes,
    refuse_other_task,
)
from ..loading.state_dict_check import AdaptingModule
from ..task_modules.batch_objects import BatchObjects, mean_over_processes
from ..task_modules.group_matching import Matches
from .detections import best_detections
from .head_outputs import (
    HeadOutputs,
    LayerOutputs,
    sums_of_layers,
)
from .head_stage import HeadStage, LossStage
from .match_errors import match_errors

PRIOR_PROBABILITY = 0.01  # of every class at the start, as in focal loss
BOX_EPS = 1e-7  # keeps IoU finite for empty boxes


@MODELS.register_module()
class RFDETRHead(AdaptingModule, BaseDenseHead):
    """Two-stage, Group-DETR head over one map or several.

    Works under any ``SingleStageDetector`` whose neck gives maps of
    ``embed_dims`` channels, one for each ``decoder.num_levels``.

    Training runs ``num_groups`` groups of queries, each matched on its own;
    evaluation runs the first. A grid of fewer cells than ``num_queries``
    gives that many queries in every group, groups kept aligned (upstream
    misaligns them there).

    Args:
        num_classes: Classes, without background.
        embed_dims: Channels of the maps and queries.
        num_queries: Queries of a group.
        num_groups: Groups in training; upstream's 13.
        decoder: Arguments of :class:`RFDETRDecoder` but ``embed_dims``.
        loss_cls: A :class:`IABCELoss` or another with the interface
            of mmdet's ``QualityFocalLoss``.
        loss_bbox: Config of the loss of normalised (cx, cy, w, h).
        loss_iou: Config of the loss of normalised (x1, y1, x2, y2).
        train_cfg: ``dict(assigner=...)``.
        test_cfg: ``dict(max_per_img=...)``; with ``num_layers`` or
            ``num_queries`` evaluation runs only so many.
        init_cfg: mmengine's.

    Source: rfdetr 1.11.2, LWDETR, Transformer, SetCriterion, PostProcess.
    """

    task = 'detection'  # of the checkpoints that fit
    decoder_type = RFDETRDecoder

    def __init__(
        self,
        num_classes: int,
        embed_dims: int = 256,
        num_queries: int = 300,
        num_groups: int = 13,
        decoder: OptConfigType = None,
        loss_cls: OptConfigType = None,
        loss_bbox: OptConfigType = None,
        loss_iou: OptConfigType = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_classes = num_classes
        self.num_queries = num_queries
        self.num_groups = num_groups
        self.test_cfg = test_cfg
        self.assigner = None
        if train_cfg is not None:
            self.assigner = TASK_UTILS.build(train_cfg['assigner'])
        self.loss_cls = MODELS.build(loss_cls or dict(type='IABCELoss'))
        self.loss_bbox = MODELS.build(
            loss_bbox or dict(type='L1Loss', loss_weight=5.0)
        )
        self.loss_iou = MODELS.build(
            loss_iou or dict(type='GIoULoss', eps=BOX_EPS, loss_weight=2.0)
        )
        self.query_selector = QuerySelector(
            num_groups, embed_dims, num_classes
        )
        self.query_embedding = nn.Parameter(
            torch.randn(num_groups, num_queries, embed_dims)
        )
        self.query_box_deltas = nn.Parameter(
            torch.zeros(num_groups, num_queries, 4)
        )
        self.decoder = self.decoder_type(
            **{'num_layers': 3, **(decoder or {}), 'embed_dims': embed_dims}
        )
        self.num_layers = len(self.decoder.layers)  # that are run
        self.stage = HeadStage()
        self.loss_stage = LossStage()
        self.cls_branch = nn.Linear(embed_dims, num_classes)
        self.reg_branch = MLP(embed_dims, embed_dims, 4, num_layers=3)
        self._reset_branches()

    def _reset_branches(self) -> None:
        """Give the proposals' branches the values of the final ones."""
        logit = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)
        nn.init.constant_(self.cls_branch.bias, logit)
        nn.init.zeros_(self.reg_branch.layers[-1].weight)
        nn.init.zeros_(self.reg_branch.layers[-1].bias)
        copies = [(self.query_selector.cls_branch, self.cls_branch)]
        copies += zip(self.query_selector.reg_branch, self.reg_branch.layers)
        with torch.no_grad():
            for grouped, single in copies:
                grouped.weight.copy_(single.weight)
                grouped.bias.copy_(single.bias)

    def forward(
        self, x: Sequence[Tensor], batch_data_samples: OptSampleList = None
    ) -> tuple[Tensor, Tensor]:
        """Run selection, decoder and branches.

        Args:
            x: Maps, one for each level, shape (bs, embed_dims, h, w).
            batch_data_samples: Samples with ``batch_input_shape`` and
                ``img_shape``; without them nothing is taken for padding.

        Returns:
            Logits (num_layers, bs, num_queries, num_classes) and
            normalised, unclamped (cx, cy, w, h) (num_layers, bs,
            num_queries, 4); num_groups * num_queries in training.
        """
        outs = self._decode(x, batch_data_samples, self._groups_to_run())
        return outs.cls_scores, outs.bbox_preds

    def _groups_to_run(self) -> int:
        return self.num_groups if self.training else 1

    def _decode(
        self,
        x: Sequence[Tensor],
        batch_data_samples: OptSampleList,
        num_groups: int,
    ) -> HeadOutputs:
        maps = self._maps_of_instances(x)
        if len(maps) != self.decoder.num_levels:
            raise InputError(
                f'the head decodes {self.decoder.num_levels} maps '
                f'(decoder.num_levels), the neck gave {len(x)}'
            )
        memory = build_memory(maps, batch_data_samples)
        return self.stage(self, x, memory, num_groups)

    def _maps_of_instances(self, x: Sequence[Tensor]) -> Sequence[Tensor]:
        """The maps that queries are selected from and look at."""
        return x

    def _outputs(
        self, x: Sequence[Tensor], memory: DecoderMemory, num_groups: int
    ) -> HeadOutputs:
        proposals = self._select(memory, num_groups)
        num_layers = count_to_run(self, 'num_layers')
        if num_layers == 0:
            return HeadOutputs.of_proposals(proposals, x, num_groups)
        query, reference_boxes = self._queries(proposals, num_groups)
        hidden_states = self.decoder(
            query, reference_boxes, memory, num_groups, num_layers
        )
        return HeadOutputs(
            cls_scores=self.cls_branch(hidden_states),
            bbox_preds=self._boxes(hidden_states, reference_boxes),
            hidden_states=hidden_states,
            proposals=proposals,
            feats=x,
            num_groups=num_groups,
        )

    def _select(
        self, memory: DecoderMemory, num_groups: int
    ) -> SelectedProposals:
        return self.query_selector(
            memory, count_to_run(self, 'num_queries'), num_groups
        )

    def _queries(
        self, proposals: SelectedProposals, num_groups: int
    ) -> tuple[Tensor, Tensor]:
        """Content and reference boxes of the queries, all groups' rows."""
        boxes = proposals.bboxes_cxcywh_norm
        bs, num_selected = len(boxes), boxes.shape[1] // num_groups
        query, deltas = (
            rows[:num_groups, :num_selected].flatten(0, 1).expand(bs, -1, -1)
            for rows in (self.query_embedding, self.query_box_deltas)
        )
        return query, apply_box_deltas(boxes.detach(), deltas)

    def _boxes(self, hidden_states: Tensor, reference_boxes: Tensor) -> Tensor:
        deltas = relu_mlp(hidden_states, self.reg_branch.layers)
        return apply_box_deltas(reference_boxes, deltas)

    def loss(
        self, x: Sequence[Tensor], batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Compute all losses.

        Args:
            x: Maps, one for each level, shape (bs, embed_dims, h, w).
            batch_data_samples: Samples with ``gt_instances`` in pixels of the
                network's input.

        Returns:
            ``loss_cls``, ``loss_bbox``, ``loss_iou`` of the last layer,
            with ``d{i}.`` in front of the earlier ones, with ``enc_`` in
            front of the proposals; logged only: ``class_error`` (percent of
            matched queries whose best class is wrong), ``cardinality_error``
            (queries above 0.5 minus objects, mean of absolutes).
        """
        outs = self._decode(x, batch_data_samples, self._groups_to_run())
        gt_instances, _, img_metas = unpack_gt_instances(batch_data_samples)
        return self.loss_by_feat(outs, gt_instances, img_metas)

    def loss_and_predict(
        self,
        x: Sequence[Tensor],
        batch_data_samples: SampleList,
        proposal_cfg: OptConfigType = None,
        rescale: bool = False,
    ) -> tuple[dict[str, Tensor], InstanceList]:
        """Compute losses and the first group's detections in one pass.

        Args:
            x: Maps, one for each level, shape (bs, embed_dims, h, w).
            batch_data_samples: See :meth:`loss`.
            proposal_cfg: Not used, part of mmdet's interface; the detections
                follow ``test_cfg``.
            rescale: See :meth:`predict`; the objects of the samples are in
                pixels of the network's input either way.

        Returns:
            See :meth:`loss` and :meth:`predict`.
        """
        outs = self._decode(x, batch_data_samples, self._groups_to_run())
        gt_instances, _, img_metas = unpack_gt_instances(batch_data_samples)
        losses = self.loss_by_feat(outs, gt_instances, img_metas)
        return losses, self._detect(outs.first_group(), img_metas, rescale)

    def loss_by_feat(
        self,
        outs: HeadOutputs,
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """Compute all losses from the head's outputs.

        Args:
            outs: What this head computed.
            batch_gt_instances: Boxes (x1, y1, x2, y2) in pixels of the
                network's input, and labels.
            batch_img_metas: Meta data of each image with ``img_shape``.

        Returns:
            See :meth:`loss`.
        """
        layers = self._supervised_layers(outs)
        objects = BatchObjects.of(batch_gt_instances, batch_img_metas)
        # All layers before the first loss: both may draw random points.
        matches = self._match(
            list(layers.values()), objects, batch_img_metas, outs.num_groups
        )
        # Every object is matched once per group; the mean over processes
        # keeps the magnitude the same for any number of them.
        num_objects = objects.counts()
        avg_factor = mean_over_processes(
            float(sum(num_objects) * outs.num_groups), outs.cls_scores.device
        )
        terms = self._losses_of_layers(
            list(layers.values()), matches, objects, max(avg_factor, 1.0)
        )
        losses = {
            prefix + name: values[i]
            for i, prefix in enumerate(layers)
            for name, values in terms.items()
        }
        errors = match_errors(
            layers[''].cls_scores.detach(),
            matches.queries[0],
            objects.labels[matches.objects[0]],
            num_objects,
        )
        return {**losses, **errors}

    def _supervised_layers(self, outs: HeadOutputs) -> dict[str, LayerOutputs]:
        return outs.layers()

    def _losses_of_layers(
        self,
        layers: list[LayerOutputs],
        matches: Matches,
        objects: BatchObjects,
        avg_factor: float,
    ) -> dict[str, Tensor]:
        """Losses of all layers in one pass, each of shape (num_layers,)."""
        cls_scores = torch.cat([x.cls_scores.flatten(0, 1) for x in layers])
        bbox_preds = torch.cat([x.bbox_preds.flatten(0, 1) for x in layers])
        rows_of_layer = len(cls_scores) // len(layers)
        starts = torch.arange(0, len(cls_scores), rows_of_layer)
        starts = starts.to(cls_scores.device, non_blocking=True)
        matched = matches.objects.flatten()
        losses = self.loss_stage(
            self,
            cls_scores,
            bbox_preds,
            (matches.queries + starts.unsqueeze(1)).flatten(),
            objects.labels[matched],
            objects.bboxes_cxcywh_norm[matched],
            len(layers),
        )
        return {k: v / avg_factor for k, v in losses.items()}

    def _box_losses(
        self,
        cls_scores: Tensor,
        bbox_preds: Tensor,
        queries: Tensor,
        matched_labels: Tensor,
        targets: Tensor,
        num_layers: int,
    ) -> dict[str, Tensor]:
        labels = matched_labels.new_full((len(cls_scores),), self.num_classes)
        labels[queries] = matched_labels
        preds = bbox_preds[queries]
        preds_xyxy = bbox_cxcywh_to_xyxy(preds)
        targets_xyxy = bbox_cxcywh_to_xyxy(targets)
        ious = bbox_preds.new_zeros(len(bbox_preds))
        ious[queries] = bbox_overlaps(
            preds_xyxy.detach(), targets_xyxy, is_aligned=True, eps=BOX_EPS
        )
        each = dict(reduction_override='none')
        losses = dict(
            loss_cls=self.loss_cls(cls_scores, (labels, ious), **each),
            loss_bbox=self.loss_bbox(preds, targets, **each),
            loss_iou=self.loss_iou(preds_xyxy, targets_xyxy, **each),
        )
        return {k: sums_of_layers(v, num_layers) for k, v in losses.items()}

    @torch.no_grad()
    def _match(
        self,
        layers: list[LayerOutputs],
        objects: BatchObjects,
        batch_img_metas: list[dict],
        num_groups: int,
    ) -> Matches:
        """Match the predictions of every layer."""
        if self.assigner is None:
            raise InputError(
                'the losses need train_cfg=dict(assigner=...); the model was '
                'built without it'
            )
        num_preds = sum(layer.cls_scores[..., 0].numel() for layer in layers)
        if objects.labels.is_cuda and self.assigner.matches_at_once(
            num_preds, max(objects.counts())
        ):
            return self.assigner.match_at_once(
                torch.stack([layer.cls_scores for layer in layers]),
                torch.stack([layer.bbox_preds for layer in layers]),
                objects,
                batch_img_metas,
                num_groups,
            )
        pairs = (
            self._match_instances(layer, objects.instances, batch_img_metas)
            for layer in layers
        )
        return self.assigner.match_layers(pairs, batch_img_metas, num_groups)

    def _match_instances(
        self,
        layer: LayerOutputs,
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
    ) -> list[tuple[InstanceData, InstanceData]]:
        """Predictions and objects of every image, for the assigner."""
        sizes_px = image_sizes_px(layer.bbox_preds, batch_img_metas)
        bboxes = bbox_cxcywh_to_xyxy(layer.bbox_preds) * sizes_px.unsqueeze(1)
        return [
            (InstanceData(scores=scores, bboxes=image_bboxes), gt_instances)
            for scores, image_bboxes, gt_instances in zip(
                layer.cls_scores, bboxes, batch_gt_instances
            )
        ]

    def predict(
        self,
        x: Sequence[Tensor],
        batch_data_samples: SampleList,
        rescale: bool = True,
    ) -> InstanceList:
        """Detect objects.

        Args:
            x: Maps, one for each level, shape (bs, embed_dims, h, w).
            batch_data_samples: Samples with ``img_shape`` and, to rescale,
                ``scale_factor``.
            rescale: Give boxes in pixels of the original image instead of
                the network's input.

        Returns:
            For each image ``scores``, ``labels`` and ``bboxes`` (x1, y1,
            x2, y2), best first, at most ``test_cfg.max_per_img``.
        """
        outs = self._decode(x, batch_data_samples, num_groups=1)
        img_metas = [sample.metainfo for sample in batch_data_samples]
        return self._detect(outs, img_metas, rescale)

    def _detect(
        self, outs: HeadOutputs, batch_img_metas: list[dict], rescale: bool
    ) -> InstanceList:
        last_layer = self._last_layer(outs)
        return self.predict_by_feat(*last_layer, batch_img_metas, rescale)

    def raw_outputs(self, x: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run the first group of queries and give what detections come from.

        Args:
            x: Maps, one for each level, shape (bs, embed_dims, h, w).

        Returns:
            Of the last decoder layer, or of the proposals if no decoder
            layer is run: logits, shape (bs, num_queries, num_classes),
            normalised boxes (cx, cy, w, h), shape (bs, num_queries, 4), and
            what a subclass adds: logits of masks, shape (bs, num_queries,
            mask_h, mask_w), or padded keypoints, see
            :meth:`RFDETRPoseHead.forward`.
        """
        outs = self._decode(x, None, num_groups=1)
        return tuple(output[0] for output in self._last_layer(outs))

    def _last_layer(self, outs: HeadOutputs) -> tuple[Tensor, ...]:
        return outs.cls_scores[-1:], outs.bbox_preds[-1:]

    def predict_by_feat(
        self,
        cls_scores: Tensor,
        bbox_preds: Tensor,
        batch_img_metas: list[dict],
        rescale: bool = True,
    ) -> InstanceList:
        """Turn the last layer's outputs into detections.

        Args:
            cls_scores: Logits, shape (num_layers, bs, num_queries,
                num_classes).
            bbox_preds: Normalised (cx, cy, w, h), shape (num_layers, bs,
                num_queries, 4).
            batch_img_metas: See :meth:`predict`.
            rescale: See :meth:`predict`.

        Returns:
            See :meth:`predict`.
        """
        return [
            detections
            for detections, _ in self._best_detections(
                cls_scores, bbox_preds, batch_img_metas, rescale
            )
        ]

    def _best_detections(
        self,
        cls_scores: Tensor,
        bbox_preds: Tensor,
        batch_img_metas: list[dict],
        rescale: bool,
    ) -> list[tuple[InstanceData, Tensor]]:
        """Detections of every image and the query of each."""
        max_per_img = (self.test_cfg or {}).get(
            'max_per_img', self.num_queries
        )
        return [
            best_detections(scores, boxes, img_meta, max_per_img, rescale)
            for scores, boxes, img_meta in zip(
                cls_scores[-1].float(), bbox_preds[-1].float(), batch_img_metas
            )
        ]

    def adapt_state_dict(self, state_dict: dict, prefix: str = '') -> None:
        """Cut groups and queries to this model's, in place.

        More queries than the checkpoint has keep their own values, with a
        warning. Class rows are never changed here: see ``ClassRowsHook``.

        Args:
            state_dict: Keys to values; only entries are replaced, the
                tensors themselves stay as they are.
            prefix: What this head's keys begin with.

        Raises:
            InputError: If the number of classes is another, or the
                checkpoint is of another task.
        """
        refuse_other_task(self.task, state_dict, prefix)
        refuse_other_classes(self.num_classes, state_dict, prefix)
        cut_query_rows(self, state_dict, prefix)
