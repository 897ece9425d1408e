"""RF-DETR's head with masks."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList
from mmdet.utils import InstanceList, OptConfigType
from mmengine.structures import InstanceData
from torch import Tensor

from ..layers.full_size_masks import gt_mask_tensor, resize_masks
from ..layers.mask_branch import MaskBranch, MaskFactors
from ..layers.mask_points import (
    random_points,
    sample_bilinear,
    sample_nearest,
    uncertain_points,
)
from ..task_modules.batch_objects import BatchObjects
from ..task_modules.group_matching import Matches
from .head_outputs import HeadOutputs, LayerOutputs
from .rfdetr_head import RFDETRHead


@MODELS.register_module()
class RFDETRInsHead(RFDETRHead):
    """:class:`RFDETRHead` that gives a mask for every query as well.

    Works under any ``SingleStageDetector``, as its parent does. Masks are
    computed from the first map. Training multiplies them out at a few points
    of all queries for the matching, and for matched queries alone for the
    losses; evaluation multiplies out the last layer's masks.

    Differs from upstream: masks of a padded batch cover the padded input on
    both sides of the losses, and detections are cut to the image.

    Args:
        *args: Arguments of :class:`RFDETRHead`.
        mask_upsample_ratio: Side of a mask in cells of the first map.
            Upstream's masks have a quarter of the input's side, hence
            ``patch_size / 4``; 4 for a map of stride 16.
        loss_mask: Cross-entropy of the mask logits at points, of mmdet's
            interface.
        loss_dice: Dice loss at the same points.
        **kwargs: Arguments of :class:`RFDETRHead`. ``train_cfg`` may also have
            ``cells_per_point`` (16: one point for 16 cells of a mask),
            ``oversample_ratio`` (3.0) and ``importance_sample_ratio``
            (0.75), see :func:`~..layers.mask_points.uncertain_points`.

    Source: rfdetr 1.11.2, LWDETR, SegmentationHead,
        SetCriterion.loss_masks, HungarianMatcher._compute_mask_costs.
    """

    task = 'instance segmentation'

    def __init__(
        self,
        *args: Any,
        mask_upsample_ratio: float = 4.0,
        loss_mask: OptConfigType = None,
        loss_dice: OptConfigType = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        train_cfg = kwargs.get('train_cfg') or {}
        self.cells_per_point = train_cfg.get('cells_per_point', 16)
        self.oversample_ratio = train_cfg.get('oversample_ratio', 3.0)
        self.importance_sample_ratio = train_cfg.get(
            'importance_sample_ratio', 0.75
        )
        self.loss_mask = MODELS.build(
            loss_mask
            or dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0)
        )
        self.loss_dice = MODELS.build(
            loss_dice
            or dict(type='DiceLoss', naive_dice=True, eps=1.0, loss_weight=5.0)
        )
        self.mask_branch = MaskBranch(
            self.decoder.embed_dims,
            len(self.decoder.layers),
            mask_upsample_ratio,
        )

    def forward(
        self, x: Sequence[Tensor], batch_data_samples: OptSampleList = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run selection, decoder and branches.

        Args:
            x: See :meth:`RFDETRHead.forward`.
            batch_data_samples: See :meth:`RFDETRHead.forward`.

        Returns:
            Logits and boxes of :meth:`RFDETRHead.forward`, and mask logits
            that cover the padded input, shape (num_layers, bs, num_queries,
            mask_h, mask_w); num_groups * num_queries in training.
        """
        outs = self._decode(x, batch_data_samples, self._groups_to_run())
        enlarged = self.mask_branch.enlarge(x[0])
        masks = self.mask_branch(enlarged, outs.hidden_states)
        masks = masks or [self._proposal_masks(enlarged, outs)]
        mask_preds = torch.stack([layer.dense() for layer in masks])
        return outs.cls_scores, outs.bbox_preds, mask_preds

    def _proposal_masks(
        self, enlarged: Tensor, outs: HeadOutputs
    ) -> MaskFactors:
        return self.mask_branch.of_proposals(
            enlarged, outs.proposals.embeddings
        )

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
                network's input, labels, and masks of the input's size.
            batch_img_metas: Meta data of each image with ``img_shape`` and, if
                the input is padded, ``batch_input_shape``.

        Returns:
            See :meth:`RFDETRHead.loss`; for every prefix ``loss_mask`` and
            ``loss_dice`` besides.
        """
        with_mask_tensors = [
            InstanceData(
                bboxes=gt_instances.bboxes,
                labels=gt_instances.labels,
                masks=gt_mask_tensor(
                    gt_instances, img_meta, outs.cls_scores.device
                ),
            )
            for gt_instances, img_meta in zip(
                batch_gt_instances, batch_img_metas
            )
        ]
        return super().loss_by_feat(outs, with_mask_tensors, batch_img_metas)

    def _supervised_layers(self, outs: HeadOutputs) -> dict[str, LayerOutputs]:
        layers = super()._supervised_layers(outs)
        enlarged = self.mask_branch.enlarge(outs.feats[0])
        masks = self.mask_branch(enlarged, outs.hidden_states)
        proposals = self._proposal_masks(enlarged, outs)
        for layer, layer_masks in zip(
            layers.values(), (*masks[-1:], *masks[:-1], proposals), strict=True
        ):
            layer.masks = layer_masks
        return layers

    def _match_instances(
        self,
        layer: LayerOutputs,
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
    ) -> list[tuple[InstanceData, InstanceData]]:
        """Add the masks' values at points that the whole batch shares."""
        pairs = super()._match_instances(
            layer, batch_gt_instances, batch_img_metas
        )
        features = layer.masks.mask_features
        mask_h, mask_w = features.shape[-2:]
        num_points = mask_h * mask_w // self.cells_per_point
        points = random_points(1, max(num_points, 1), features)
        # float32, the dtype in which mmdet's mask costs compute
        mask_logits = layer.masks.at_points(points).float()
        with_masks = []
        for (preds, gts), logits in zip(pairs, mask_logits):
            preds.masks = logits
            rows = torch.arange(len(gts.masks), device=logits.device)
            gts = InstanceData(
                bboxes=gts.bboxes,
                labels=gts.labels,
                masks=sample_nearest(gts.masks, points, rows).float(),
            )
            with_masks.append((preds, gts))
        return with_masks

    def _losses_of_layers(
        self,
        layers: list[LayerOutputs],
        matches: Matches,
        objects: BatchObjects,
        avg_factor: float,
    ) -> dict[str, Tensor]:
        """Those of the boxes, and of the masks."""
        losses = super()._losses_of_layers(
            layers, matches, objects, avg_factor
        )
        of_masks = [
            self._mask_losses(
                layer,
                matches.per_image(i),
                objects.instances,
                avg_factor,
            )
            for i, layer in enumerate(layers)
        ]
        for i, name in enumerate(('loss_mask', 'loss_dice')):
            losses[name] = torch.stack([pair[i] for pair in of_masks])
        return losses

    def _mask_losses(
        self,
        layer: LayerOutputs,
        pairs: list[tuple[Tensor, Tensor]],
        batch_gt_instances: InstanceList,
        avg_factor: float,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy and dice of one layer's matched queries.

        Args:
            layer: Its predictions, with masks.
            pairs: Query indices and object indices of each image.
            batch_gt_instances: Objects of each image with masks as tensors of
                the padded input's size.
            avg_factor: Divisor of all sums.
        """
        # Of matched queries alone: (num_matched, mask_h, mask_w)
        logits = torch.cat(
            [
                layer.masks.select(i, query_inds)
                for i, (query_inds, _) in enumerate(pairs)
            ]
        )
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        mask_h, mask_w = logits.shape[-2:]
        num_points = max(mask_h, mask_h * mask_w // self.cells_per_point)
        points = uncertain_points(
            logits,
            num_points,
            self.oversample_ratio,
            self.importance_sample_ratio,
        )
        point_logits = sample_bilinear(logits.unsqueeze(1), points)[:, 0]
        counts = [len(gt_inds) for _, gt_inds in pairs]
        point_labels = torch.cat(
            [
                sample_nearest(gt_instances.masks, image_points, gt_inds)
                for gt_instances, image_points, (_, gt_inds) in zip(
                    batch_gt_instances, points.split(counts), pairs
                )
            ]
        )
        loss_mask = self.loss_mask(
            point_logits, point_labels, avg_factor=avg_factor * num_points
        )
        loss_dice = self.loss_dice(
            point_logits, point_labels, avg_factor=avg_factor
        )
        return loss_mask, loss_dice

    def _last_layer(self, outs: HeadOutputs) -> tuple[Tensor, ...]:
        enlarged = self.mask_branch.enlarge(outs.feats[0])
        if len(outs.hidden_states):
            masks = self.mask_branch.of_last_layer(
                enlarged, outs.hidden_states
            )
        else:
            masks = self._proposal_masks(enlarged, outs)
        return *super()._last_layer(outs), masks.dense().unsqueeze(0)

    def predict_by_feat(
        self,
        cls_scores: Tensor,
        bbox_preds: Tensor,
        mask_preds: Tensor,
        batch_img_metas: list[dict],
        rescale: bool = True,
    ) -> InstanceList:
        """Turn the last layer's outputs into detections.

        Args:
            cls_scores: Logits, shape (num_layers, bs, num_queries,
                num_classes).
            bbox_preds: Normalised (cx, cy, w, h), shape (num_layers, bs,
                num_queries, 4).
            mask_preds: Logits that cover the padded input, shape
                (num_layers, bs, num_queries, mask_h, mask_w).
            batch_img_metas: See :meth:`predict`; with ``ori_shape`` to
                rescale and ``batch_input_shape`` if the input is padded.
            rescale: See :meth:`predict`.

        Returns:
            See :meth:`predict`; ``masks`` besides, True in the object,
            shape (num_detections, h, w) of the original image, or of the
            network's input without padding.
        """
        results = []
        for i, (detections, queries) in enumerate(
            self._best_detections(
                cls_scores, bbox_preds, batch_img_metas, rescale
            )
        ):
            img_meta = batch_img_metas[i]
            size_px = img_meta['ori_shape' if rescale else 'img_shape'][:2]
            detections.masks = resize_masks(
                mask_preds[-1, i, queries].float(), img_meta, tuple(size_px)
            )
            results.append(detections)
        return results
