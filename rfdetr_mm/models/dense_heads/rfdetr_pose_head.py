"""RF-DETR's head with keypoints."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from mmdet.models.layers import MLP
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList
from mmdet.utils import InstanceList, OptConfigType
from mmengine.structures import InstanceData
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

from ..autograd.relu_mlp import relu_mlp
from ..layers.decoder_memory import DecoderMemory
from ..layers.grouped_layers import GroupedMLP
from ..layers.image_size import image_sizes_px
from ..layers.keypoint_decoder import KeypointDecoder
from ..layers.keypoint_deltas import apply_keypoint_deltas
from ..layers.keypoint_queries import KeypointQueries
from ..layers.keypoint_schema import (
    CLASS,
    NUM_CHANNELS,
    KeypointSchema,
)
from ..layers.keypoint_scores import add_keypoints
from ..layers.query_selector import SelectedProposals
from ..loading.query_rows import count_to_run, refuse_other_schema
from ..task_modules.batch_objects import BatchObjects
from ..task_modules.group_matching import Matches
from .head_outputs import (
    HeadOutputs,
    LayerOutputs,
    sums_of_layers,
)
from .rfdetr_head import RFDETRHead

TRACE_ALPHA = 0.2  # how much uncertain keypoints lower a score


@MODELS.register_module()
class RFDETRPoseHead(RFDETRHead):
    """:class:`RFDETRHead` that gives the keypoints of every query as well.

    Every query has a token for each keypoint of every class. After each
    decoder layer an instance and its keypoints look at each other, and the
    keypoints look at the maps around the instance's box.

    Works under any ``SingleStageDetector``, as its parent does. A neck that
    gives twice as many maps as ``decoder.num_levels``, such as
    :class:`DualProjector`, gives the second half to the keypoints alone;
    otherwise they look at the same maps as the instances.

    Args:
        num_classes: Classes, without background.
        num_keypoints: Keypoints of each class; 0 for a class without any.
        decoder: Arguments of :class:`KeypointDecoder` but ``embed_dims`` and
            ``schema``.
        loss_keypoint_l1: Config of the loss of the places. All four have the
            interface of :class:`KeypointL1Loss`.
        loss_keypoint_findable: Config of the loss of "an annotator could find
            it".
        loss_keypoint_visible: Config of the loss of "nothing hides it".
        loss_keypoint_nll: Config of the loss of how sure the place is.
        **kwargs: Arguments of :class:`RFDETRHead`. ``test_cfg`` may also have
            ``trace_alpha`` (0.2), see
            :func:`~..layers.keypoint_scores.fuse_scores`.

    Raises:
        InputError: If ``num_keypoints`` does not fit the classes.

    Source: GroupPose (arXiv 2308.07313); rfdetr 1.11.2, LWDETR,
        Transformer, SetCriterion.loss_keypoints, PostProcess.
    """

    task = 'keypoint'
    decoder_type = KeypointDecoder

    def __init__(
        self,
        num_classes: int,
        num_keypoints: Sequence[int],
        decoder: OptConfigType = None,
        loss_keypoint_l1: OptConfigType = None,
        loss_keypoint_findable: OptConfigType = None,
        loss_keypoint_visible: OptConfigType = None,
        loss_keypoint_nll: OptConfigType = None,
        **kwargs: Any,
    ) -> None:
        schema = KeypointSchema.of(num_keypoints, num_classes)
        super().__init__(
            num_classes, decoder=dict(decoder or {}, schema=schema), **kwargs
        )
        self.schema = schema
        self.keypoint_losses = nn.ModuleDict(
            {
                'l1': MODELS.build(
                    loss_keypoint_l1 or dict(type='KeypointL1Loss')
                ),
                'findable': MODELS.build(
                    loss_keypoint_findable or dict(type='KeypointFindableLoss')
                ),
                'visible': MODELS.build(
                    loss_keypoint_visible or dict(type='KeypointVisibleLoss')
                ),
                'nll': MODELS.build(
                    loss_keypoint_nll or dict(type='KeypointNLLLoss')
                ),
            }
        )
        dims = self.decoder.embed_dims
        self.keypoint_queries = KeypointQueries(dims, schema.total)
        self.proposal_keypoint_queries = KeypointQueries(dims, schema.total)
        self.keypoint_branch = MLP(dims, dims, NUM_CHANNELS, num_layers=3)
        self.proposal_keypoint_branch = GroupedMLP(
            self.num_groups, dims, NUM_CHANNELS, num_layers=3
        )
        # In the state dict, so that a file says whose keypoints it has.
        self.register_buffer('active_keypoints', schema.active())
        self.register_buffer('places', schema.places(), persistent=False)
        boosts = nn.functional.one_hot(schema.classes(), num_classes)
        self.register_buffer('boosts', boosts.float(), persistent=False)
        self._reset_keypoint_branches()

    def _reset_keypoint_branches(self) -> None:
        """Start at the centres of the boxes, all groups with equal values."""
        last = self.keypoint_branch.layers[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            for grouped, single in zip(
                self.proposal_keypoint_branch, self.keypoint_branch.layers
            ):
                grouped.weight.copy_(single.weight)
                grouped.bias.copy_(single.bias)

    def forward(
        self, x: Sequence[Tensor], batch_data_samples: OptSampleList = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run selection, decoder and branches.

        Args:
            x: See :meth:`RFDETRHead.forward`; for the keypoints as many
                again, or none.
            batch_data_samples: See :meth:`RFDETRHead.forward`.

        Returns:
            Logits and boxes of :meth:`RFDETRHead.forward`, and keypoints in
            the padded layout, shape (num_layers, bs, num_queries,
            num_classes * largest number of keypoints, 8), x and y
            normalised; num_groups * num_queries in training.
        """
        outs = self._decode(x, batch_data_samples, self._groups_to_run())
        return (
            outs.cls_scores,
            outs.bbox_preds,
            self._padded(outs.keypoint_preds),
        )

    def _padded(self, keypoints: Tensor) -> Tensor:
        """Compact keypoints (..., total, 8) in the padded layout."""
        padded = keypoints.index_select(-2, self.places.flatten())
        return padded * self.active_keypoints.view(-1, 1)

    def _maps_of_instances(self, x: Sequence[Tensor]) -> Sequence[Tensor]:
        num_levels = self.decoder.num_levels
        return x[:num_levels] if len(x) == 2 * num_levels else x

    def _outputs(
        self, x: Sequence[Tensor], memory: DecoderMemory, num_groups: int
    ) -> HeadOutputs:
        proposals = self._with_keypoints(
            self._select(memory, num_groups), num_groups
        )
        num_layers = count_to_run(self, 'num_layers')
        if num_layers == 0:
            return HeadOutputs.of_proposals(proposals, x, num_groups)
        query, reference_boxes = self._queries(proposals, num_groups)
        # The content of the queries is the same for every image.
        keypoints = self.keypoint_queries(query[:1])
        maps = x[len(self._maps_of_instances(x)) :] or x
        tokens = torch.cat([x.flatten(2).mT for x in maps], dim=1)
        hidden_states, keypoint_states = self.decoder(
            query,
            keypoints.expand(len(query), -1, -1, -1),
            reference_boxes,
            memory,
            replace(
                memory,
                tokens=tokens,
                spatial_shapes=[tuple(x.shape[2:]) for x in maps],
            ),
            num_groups,
            num_layers,
        )
        keypoint_preds = apply_keypoint_deltas(
            reference_boxes,
            relu_mlp(keypoint_states, self.keypoint_branch.layers),
        )
        return HeadOutputs(
            cls_scores=self._boosted(
                self.cls_branch(hidden_states), keypoint_preds
            ),
            bbox_preds=self._boxes(hidden_states, reference_boxes),
            hidden_states=hidden_states,
            proposals=proposals,
            feats=x,
            num_groups=num_groups,
            keypoint_preds=keypoint_preds,
        )

    def _with_keypoints(
        self, proposals: SelectedProposals, num_groups: int
    ) -> SelectedProposals:
        """Add keypoints to proposals that are selected without any."""
        tokens = self.proposal_keypoint_queries(proposals.embeddings)
        # (num_groups, bs * num_selected * num_keypoints, embed_dims)
        grouped = tokens.unflatten(1, (num_groups, -1)).transpose(0, 1)
        deltas = self.proposal_keypoint_branch(
            grouped.flatten(1, 3), num_groups
        )
        deltas = deltas.unflatten(1, grouped.shape[1:4]).transpose(0, 1)
        keypoints = apply_keypoint_deltas(
            proposals.bboxes_cxcywh_norm, deltas.flatten(1, 2)
        )
        return replace(
            proposals,
            cls_scores=self._boosted(proposals.cls_scores, keypoints),
            keypoints=keypoints,
        )

    def _boosted(self, cls_scores: Tensor, keypoints: Tensor) -> Tensor:
        """Add what the keypoints of a class say for it."""
        votes = keypoints[..., CLASS]
        return cls_scores + votes @ self.boosts.to(votes)

    def _of_class(self, keypoints: Tensor, labels: Tensor) -> Tensor:
        """Keypoints of one class in each row.

        Args:
            keypoints: Compact, shape (n, total, 8).
            labels: Shape (n,).

        Returns:
            Shape (n, largest, 8); any numbers where the class has none.
        """
        rows = torch.arange(len(labels), device=labels.device)
        return keypoints[rows.unsqueeze(1), self.places[labels]]

    def loss_by_feat(
        self,
        outs: HeadOutputs,
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """Compute all losses from the head's outputs.

        Args:
            outs: Outputs of this head.
            batch_gt_instances: Boxes (x1, y1, x2, y2) in pixels of the
                network's input, labels, and ``keypoints``, x and y in the
                same pixels and COCO's visibility, shape (num_objects,
                largest number of keypoints, 3).
            batch_img_metas: Meta data of each image with ``img_shape``.

        Returns:
            See :meth:`RFDETRHead.loss`; for every prefix
            ``loss_keypoint_l1``, ``loss_keypoint_findable``,
            ``loss_keypoint_visible`` and ``loss_keypoint_nll`` besides.

        Raises:
            InputError: If objects have no keypoints, or another number.
        """
        normalised = [
            self._normalised(gt_instances, img_meta)
            for gt_instances, img_meta in zip(
                batch_gt_instances, batch_img_metas
            )
        ]
        return super().loss_by_feat(outs, normalised, batch_img_metas)

    def _normalised(
        self, gt_instances: InstanceData, img_meta: dict
    ) -> InstanceData:
        """The same objects, keypoints over the size of the image."""
        if 'keypoints' not in gt_instances:
            raise InputError(
                'a keypoint model must be trained on objects with keypoints, '
                'and these have none: use a data set with keypoints and '
                'PackPoseInputs in its pipeline, as configs/rfdetr_pose '
                'does, or a detection config of configs/rfdetr'
            )
        keypoints = gt_instances.keypoints
        if keypoints.shape[1:] != (self.schema.largest, 3):
            raise InputError(
                'objects must have as many keypoints as the largest class '
                f'of the model, {self.schema.largest} of 3 numbers each '
                f'(num_keypoints={self.schema.counts}), got '
                f'{tuple(keypoints.shape[1:])}: set '
                'model.bbox_head.num_keypoints to those of the data set'
            )
        sizes_px = image_sizes_px(gt_instances.bboxes, [img_meta])
        places = keypoints[..., :2].to(sizes_px) / sizes_px[:, None, :2]
        visibility = keypoints[..., 2:].to(places)
        return InstanceData(
            bboxes=gt_instances.bboxes,
            labels=gt_instances.labels,
            keypoints=torch.cat([places, visibility], dim=-1),
        )

    def _match_instances(
        self,
        layer: LayerOutputs,
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
    ) -> list[tuple[InstanceData, InstanceData]]:
        """Add the keypoints to predictions."""
        pairs = super()._match_instances(
            layer, batch_gt_instances, batch_img_metas
        )
        for (preds, _), keypoints in zip(pairs, layer.keypoints):
            preds.keypoints = keypoints
            preds.set_metainfo(dict(schema=self.schema))
        return pairs

    def _losses_of_layers(
        self,
        layers: list[LayerOutputs],
        matches: Matches,
        objects: BatchObjects,
        avg_factor: float,
    ) -> dict[str, Tensor]:
        """Those of the boxes, and of the keypoints."""
        losses = super()._losses_of_layers(
            layers, matches, objects, avg_factor
        )
        matched = matches.objects.flatten()
        labels = objects.labels[matched]
        preds = torch.cat(
            [
                layer.keypoints.flatten(0, 1)[queries]
                for layer, queries in zip(layers, matches.queries)
            ]
        )
        targets = torch.cat([x.keypoints for x in objects.instances])
        pairs = (
            self._of_class(preds, labels),
            targets[matched],
            objects.bboxes_cxcywh_norm[matched, 2:].prod(dim=1),
            self.active_keypoints[labels],
        )
        for name, loss in self.keypoint_losses.items():
            values = loss(*pairs, reduction_override='none')
            sums = sums_of_layers(values, len(layers))
            losses[f'loss_keypoint_{name}'] = sums / avg_factor
        return losses

    def _last_layer(self, outs: HeadOutputs) -> tuple[Tensor, ...]:
        keypoints = self._padded(outs.keypoint_preds[-1:])
        return *super()._last_layer(outs), keypoints

    def predict_by_feat(
        self,
        cls_scores: Tensor,
        bbox_preds: Tensor,
        keypoint_preds: Tensor,
        batch_img_metas: list[dict],
        rescale: bool = True,
    ) -> InstanceList:
        """Turn the last layer's outputs into detections.

        Args:
            cls_scores: Logits, shape (num_layers, bs, num_queries,
                num_classes).
            bbox_preds: Normalised (cx, cy, w, h), shape (num_layers, bs,
                num_queries, 4).
            keypoint_preds: Keypoints in the padded layout, see
                :meth:`forward`.
            batch_img_metas: See :meth:`predict`.
            rescale: See :meth:`predict`.

        Returns:
            See :meth:`predict`, in the order of the scores before
            uncertainty changed them. Besides ``keypoints``, (x, y) in the
            pixels of the boxes and not clamped, shape (num_detections,
            largest number of keypoints, 2); ``keypoint_scores``, how likely
            an annotator would find each, shape (num_detections, largest);
            both 0 where the class has no such keypoint; and
            ``keypoint_precision``, (log l11, l21, log l22) in units of the
            image's size, shape (num_detections, largest, 3), NaN there.
        """
        alpha = (self.test_cfg or {}).get('trace_alpha', TRACE_ALPHA)
        results = []
        for i, (detections, queries) in enumerate(
            self._best_detections(
                cls_scores, bbox_preds, batch_img_metas, rescale
            )
        ):
            height, width = batch_img_metas[i]['img_shape'][:2]
            if rescale:
                scale_w, scale_h = batch_img_metas[i]['scale_factor'][:2]
                width, height = width / scale_w, height / scale_h
            add_keypoints(
                detections,
                keypoint_preds[-1, i, queries].float(),
                self.active_keypoints,
                (width, height),
                alpha,
            )
            results.append(detections)
        return results

    def adapt_state_dict(self, state_dict: dict, prefix: str = '') -> None:
        """Cut groups and queries to this model's, in place.

        Args:
            state_dict: See :meth:`RFDETRHead.adapt_state_dict`.
            prefix: What this head's keys begin with.

        Raises:
            InputError: If the classes, their keypoints or the task are
                others.
        """
        super().adapt_state_dict(state_dict, prefix)
        refuse_other_schema(self.schema.counts, state_dict, prefix)
