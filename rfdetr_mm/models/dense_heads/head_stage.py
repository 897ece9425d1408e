"""What a head computes with tensors, as parts that can be compiled.

They have no weights and are given the head, so that state dicts do not know
them, and a copy of the head is compiled anew, as copies of modules are.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from ..layers.decoder_memory import DecoderMemory
from .head_outputs import HeadOutputs


class HeadStage(nn.Module):
    """Selection, decoder and branches, between the maps and the matching."""

    def forward(
        self,
        head: nn.Module,
        x: Sequence[Tensor],
        memory: DecoderMemory,
        num_groups: int,
    ) -> HeadOutputs:
        """Run the head on the maps.

        Args:
            head: An ``RFDETRHead``, whose weights are used.
            x: Maps, one for each level, shape (bs, embed_dims, h, w).
            memory: The same as tokens.
            num_groups: How many groups to run, from the first on.

        Returns:
            What the head computes.
        """
        return head._outputs(x, memory, num_groups)


class LossStage(nn.Module):
    """The losses of classes and boxes, after the matching."""

    def forward(
        self,
        head: nn.Module,
        cls_scores: Tensor,
        bbox_preds: Tensor,
        queries: Tensor,
        labels: Tensor,
        targets: Tensor,
        num_layers: int,
    ) -> dict[str, Tensor]:
        """Compute the losses of all layers in one pass.

        Args:
            head: An ``RFDETRHead``, whose losses are used.
            cls_scores: Logits of all layers, one after another, shape
                (num_layers * bs * num_queries, num_classes).
            bbox_preds: Normalised (cx, cy, w, h), shape (num_layers * bs *
                num_queries, 4).
            queries: Matched rows of both, shape (num_matched,), as many of
                each layer.
            labels: Their classes, shape (num_matched,).
            targets: Their boxes, normalised (cx, cy, w, h), shape
                (num_matched, 4).
            num_layers: How many layers.

        Returns:
            Sums, shape (num_layers,), of ``loss_cls``, ``loss_bbox`` and
            ``loss_iou``.
        """
        return head._box_losses(
            cls_scores, bbox_preds, queries, labels, targets, num_layers
        )
