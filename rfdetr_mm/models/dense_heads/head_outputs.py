"""What a head computes from the maps, before losses or detections."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..layers.mask_branch import MaskFactors
from ..layers.query_selector import SelectedProposals


@dataclass
class LayerOutputs:
    """What one decoder layer, or the query selection, predicts.

    Attributes:
        cls_scores: Logits, shape (bs, num_groups * num_queries,
            num_classes).
        bbox_preds: Normalised (cx, cy, w, h), shape (bs, num_groups *
            num_queries, 4).
        masks: Mask logits, if the head has masks.
        keypoints: Keypoints in the compact layout, shape (bs, num_groups *
            num_queries, num_keypoints, 8), if the head has keypoints.
    """

    cls_scores: Tensor
    bbox_preds: Tensor
    masks: MaskFactors | None = None
    keypoints: Tensor | None = None


@dataclass
class HeadOutputs:
    """Everything the head computes from the maps.

    Without any decoder layer the proposals are the predictions: they are the
    one and only layer of ``cls_scores`` and ``bbox_preds``.

    Attributes:
        cls_scores: Logits of all layers, shape (num_layers, bs,
            num_groups * num_queries, num_classes).
        bbox_preds: Normalised (cx, cy, w, h), shape (num_layers, bs,
            num_groups * num_queries, 4).
        hidden_states: Normed queries after each decoder layer, shape
            (num_decoder_layers, bs, num_groups * num_queries, embed_dims).
        proposals: What the queries were selected from.
        feats: The maps, one for each level, shape (bs, embed_dims, h, w).
        num_groups: Groups that were run.
        keypoint_preds: Keypoints of all layers in the compact layout, shape
            (num_layers, bs, num_groups * num_queries, num_keypoints, 8), if
            the head has any.
    """

    cls_scores: Tensor
    bbox_preds: Tensor
    hidden_states: Tensor
    proposals: SelectedProposals
    feats: Sequence[Tensor]
    num_groups: int
    keypoint_preds: Tensor | None = None

    @classmethod
    def of_proposals(
        cls,
        proposals: SelectedProposals,
        feats: Sequence[Tensor],
        num_groups: int,
    ) -> 'HeadOutputs':
        """Outputs of a head that runs no decoder layer.

        Args:
            proposals: What the query selection gave.
            feats: The maps, shape (bs, embed_dims, h, w) each.
            num_groups: Groups that were run.
        """
        return cls(
            cls_scores=proposals.cls_scores.unsqueeze(0),
            bbox_preds=proposals.bboxes_cxcywh_norm.unsqueeze(0),
            hidden_states=proposals.embeddings.unsqueeze(0)[:0],
            proposals=proposals,
            feats=feats,
            num_groups=num_groups,
            keypoint_preds=None
            if proposals.keypoints is None
            else proposals.keypoints.unsqueeze(0),
        )

    def layers(self) -> dict[str, LayerOutputs]:
        """Predictions by the prefix of their losses.

        Returns:
            The last layer (``''``), the earlier ones (``'d0.'``, ...) and
            the proposals (``'enc_'``), in this order; without decoder layers
            the proposals alone, as ``''``.
        """
        keypoint_preds = self.keypoint_preds
        if keypoint_preds is None:
            keypoint_preds = [None] * len(self.cls_scores)
        *earlier, last = (
            LayerOutputs(scores, bboxes, keypoints=keypoints)
            for scores, bboxes, keypoints in zip(
                self.cls_scores, self.bbox_preds, keypoint_preds
            )
        )
        layers = {'': last}
        layers.update((f'd{i}.', layer) for i, layer in enumerate(earlier))
        if len(self.hidden_states):
            layers['enc_'] = LayerOutputs(
                self.proposals.cls_scores,
                self.proposals.bboxes_cxcywh_norm,
                keypoints=self.proposals.keypoints,
            )
        return layers

    def first_group(self) -> 'HeadOutputs':
        """What evaluation would compute: the first group, no gradients.

        Returns:
            Outputs of all layers, and the proposals.
        """
        num_queries = self.cls_scores.shape[2] // self.num_groups
        proposals = {
            name: value[:, :num_queries].detach()
            for name, value in vars(self.proposals).items()
            if value is not None
        }
        layers = {
            name: value[:, :, :num_queries].detach()
            for name, value in vars(self).items()
            if name in ('cls_scores', 'bbox_preds', 'hidden_states')
            or (name == 'keypoint_preds' and value is not None)
        }
        return replace(
            self,
            **layers,
            proposals=SelectedProposals(**proposals),
            num_groups=1,
        )


def sums_of_layers(values: Tensor, num_layers: int) -> Tensor:
    """Sum up what losses without a reduction gave for all layers together.

    Args:
        values: Equally many rows of values for each layer, layer after layer;
            or a single zero, as mmdet's losses give for no boxes.
        num_layers: How many layers.

    Returns:
        Shape (num_layers,).
    """
    if values.dim() == 0:
        return values.expand(num_layers)
    return values.reshape(num_layers, -1).sum(dim=1)
