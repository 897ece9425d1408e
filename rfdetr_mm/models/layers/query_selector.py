"""Two-stage selection: which positions of the maps become queries."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .box_deltas import apply_box_deltas
from .decoder_memory import DecoderMemory
from .grouped_layers import GroupedLayerNorm, GroupedLinear, GroupedMLP

# Side of the square proposal at every cell of the first level, over the
# image's side; doubled at each further level.
PROPOSAL_SIZE = 0.05


@dataclass
class SelectedProposals:
    """The proposals that become queries, group after group.

    Attributes:
        cls_scores: Logits, shape (bs, num_groups * num_selected,
            num_classes).
        bboxes_cxcywh_norm: Boxes with gradient, shape (bs, num_groups *
            num_selected, 4).
        embeddings: Features of the selected positions, shape (bs,
            num_groups * num_selected, embed_dims).
        keypoints: Keypoints in the compact layout, shape (bs, num_groups *
            num_selected, num_keypoints, 8), where a head adds them.
    """

    cls_scores: Tensor
    bboxes_cxcywh_norm: Tensor
    embeddings: Tensor
    keypoints: Tensor | None = None


class QuerySelector(nn.Module):
    """Score every position of the maps and keep the best, per query group.

    Each group has its own projection, norm, classifier and box regressor
    over the same maps; all groups run in one batched pass. In training the
    selected positions are projected and classified a second time, with
    gradients, and all the others have none to compute or to keep.

    Args:
        num_groups: Query groups (Group DETR).
        embed_dims: Channels of the maps.
        num_classes: Classes, without background.

    Source: rfdetr 1.11.2, Transformer.forward (two_stage).
    """

    def __init__(
        self, num_groups: int, embed_dims: int, num_classes: int
    ) -> None:
        super().__init__()
        self.proj = GroupedLinear(num_groups, embed_dims, embed_dims)
        self.norm = GroupedLayerNorm(num_groups, embed_dims)
        self.cls_branch = GroupedLinear(num_groups, embed_dims, num_classes)
        self.reg_branch = GroupedMLP(num_groups, embed_dims, 4, num_layers=3)
        for weight in self.proj.weight.data:
            nn.init.xavier_uniform_(weight)

    def forward(
        self, memory: DecoderMemory, num_queries: int, num_groups: int
    ) -> SelectedProposals:
        """Select the ``num_queries`` best positions for each group.

        Args:
            memory: Maps as tokens.
            num_queries: Wanted positions; a smaller grid gives all it has.
            num_groups: How many groups to run, from the first on.

        Returns:
            The selected proposals, best first within each group.
        """
        proposals, invalid = grid_proposals(memory)
        memory_tokens = memory.tokens.masked_fill(invalid.unsqueeze(-1), 0.0)
        num_selected = min(num_queries, memory_tokens.shape[1])
        # A trace, as of mmdet's get_flops.py, is of predicting.
        needs_grad = torch.is_grad_enabled() and not torch.jit.is_tracing()
        with torch.no_grad():
            tokens, scores = self._score(memory_tokens[None], num_groups)
            best = scores.max(dim=-1).values.topk(num_selected, dim=2).indices
        if needs_grad:
            # A position that is not selected has no gradient.
            selected = _select_rows(memory_tokens, best)
            tokens, scores = self._score(selected, num_groups)
        else:
            tokens, scores = (_gather_rows(x, best) for x in (tokens, scores))
        boxes = _select_rows(proposals, best)
        deltas = self.reg_branch(tokens.flatten(1, 2), num_groups)
        boxes = apply_box_deltas(boxes, deltas.view_as(boxes))
        return SelectedProposals(
            *(_groups_to_queries(x) for x in (scores, boxes, tokens))
        )

    def _score(self, tokens: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
        """Project and classify (num_groups or 1, bs, rows, C).

        Returns:
            Projected tokens (num_groups, bs, rows, C) and logits
            (num_groups, bs, rows, num_classes).
        """
        bs_and_rows = tokens.shape[1:3]
        tokens = self.norm(self.proj(tokens.flatten(1, 2), num_groups))
        scores = self.cls_branch(tokens, num_groups)
        return tuple(x.unflatten(1, bs_and_rows) for x in (tokens, scores))


def grid_proposals(memory: DecoderMemory) -> tuple[Tensor, Tensor]:
    """Put one square proposal on every cell of every level.

    A proposal whose centre is within 0.01 of the border (the outermost
    cells of grids of 50 and more) or in padding is invalid and all zero; it
    may still be selected.

    Args:
        memory: Maps as tokens, with their sizes and padding.

    Returns:
        Normalised (cx, cy, w, h) relative to the unpadded image, shape (bs,
        num_tokens, 4), and True where invalid, shape (bs, num_tokens).

    Source: rfdetr 1.11.2, gen_encoder_output_proposals.
    """
    levels = []
    for level, (height, width) in enumerate(memory.spatial_shapes):
        grid_y, grid_x = torch.meshgrid(
            torch.arange(height, device=memory.tokens.device),
            torch.arange(width, device=memory.tokens.device),
            indexing='ij',
        )
        cells = torch.stack([grid_x, grid_y], dim=-1).flatten(0, 1) + 0.5
        centers = cells / memory.valid_sizes[:, level, None]
        sizes = torch.full_like(centers, PROPOSAL_SIZE * 2.0**level)
        levels.append(torch.cat([centers, sizes], dim=-1))
    proposals = torch.cat(levels, dim=1)
    invalid = ~((proposals > 0.01) & (proposals < 0.99)).all(dim=-1)
    if memory.padding_mask is not None:
        invalid = invalid | memory.padding_mask
    return proposals.masked_fill(invalid.unsqueeze(-1), 0.0), invalid


def _gather_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Pick rows (groups, bs, k) out of x (groups, bs, rows, C)."""
    return x.gather(2, rows.unsqueeze(-1).expand(-1, -1, -1, x.shape[-1]))


def _select_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Pick rows (groups, bs, k) out of x (bs, rows, C), for all groups."""
    starts = torch.arange(len(x), device=x.device) * x.shape[1]
    rows = rows + starts.unsqueeze(1)
    picked = x.flatten(0, 1).index_select(0, rows.flatten())
    return picked.unflatten(0, rows.shape)


def _groups_to_queries(x: Tensor) -> Tensor:
    """(groups, bs, k, C) to (bs, groups * k, C), group after group."""
    return x.transpose(0, 1).flatten(1, 2)
