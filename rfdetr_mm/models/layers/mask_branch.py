"""Masks of queries: a map that the layers refine, times a vector."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mask_points import sample_bilinear


@dataclass
class MaskFactors:
    """Mask logits that are not multiplied out: map * query + bias.

    One dense mask for each of the 3900 queries of a training step would not
    fit into memory; a few points of all, or a few masks, do.

    Attributes:
        mask_features: Shape (bs, embed_dims, mask_h, mask_w); covers the
            network's input with its padding.
        query_features: Shape (bs, num_queries, embed_dims).
        bias: Shape (1,).

    Source: rfdetr 1.11.2, models/heads/segmentation.py, SegmentationHead.
    """

    mask_features: Tensor
    query_features: Tensor
    bias: Tensor

    def dense(self) -> Tensor:
        """Logits of all queries, shape (bs, num_queries, mask_h, mask_w)."""
        return (
            torch.einsum(
                'bchw,bnc->bnhw', self.mask_features, self.query_features
            )
            + self.bias
        )

    def select(self, image: int, queries: Tensor) -> Tensor:
        """Logits of some queries of one image.

        Args:
            image: Index in the batch.
            queries: Indices, shape (n,); n may be 0.

        Returns:
            Shape (n, mask_h, mask_w).
        """
        vectors = self.query_features[image, queries]
        features = self.mask_features[image]
        return torch.einsum('chw,nc->nhw', features, vectors) + self.bias

    def at_points(self, points: Tensor) -> Tensor:
        """Logits of all queries at points that all share.

        Args:
            points: Normalised (x, y), shape (1, num_points, 2).

        Returns:
            Shape (bs, num_queries, num_points).
        """
        points = points.expand(len(self.mask_features), -1, -1)
        features = sample_bilinear(self.mask_features, points)
        return (
            torch.einsum('bcp,bnc->bnp', features, self.query_features)
            + self.bias
        )


class MaskBlock(nn.Module):
    """ConvNeXt block with one pointwise layer and no scale.

    Differs from upstream: the depthwise convolution uses cuDNN on CUDA
    devices, which upstream switches off there.

    Args:
        embed_dims: Channels.

    Source: rfdetr 1.11.2, models/heads/segmentation.py, DepthwiseConvBlock.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            embed_dims, embed_dims, 3, padding=1, groups=embed_dims
        )
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6)
        self.pointwise = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (bs, embed_dims, h, w)."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = F.gelu(self.pointwise(y))
        return y.permute(0, 3, 1, 2) + x


class QueryFFN(nn.Module):
    """Pre-norm feed-forward network with a residual.

    Args:
        embed_dims: Channels; the hidden layer has four times as many.

    Source: rfdetr 1.11.2, models/heads/segmentation.py, MLPBlock.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dims)
        self.fc1 = nn.Linear(embed_dims, 4 * embed_dims)
        self.fc2 = nn.Linear(4 * embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (..., embed_dims)."""
        return self.fc2(F.gelu(self.fc1(self.norm(x)))) + x


class MaskBranch(nn.Module):
    """Mask logits of every decoder layer and of the proposals.

    Block i refines what block i - 1 gave and belongs to decoder layer i; the
    proposals take the map before the first block. The last projections of
    map and queries are shared by all of them.

    Args:
        embed_dims: Channels of the map and the queries.
        num_layers: Decoder layers.
        upsample_ratio: Side of a mask in cells of the map that it is
            computed from. Upstream's masks have a quarter of the input's
            side, hence ``patch_size / 4``.

    Source: rfdetr 1.11.2, models/heads/segmentation.py, SegmentationHead.
    """

    def __init__(
        self, embed_dims: int, num_layers: int, upsample_ratio: float
    ) -> None:
        super().__init__()
        self.upsample_ratio = upsample_ratio
        self.blocks = nn.ModuleList(
            MaskBlock(embed_dims) for _ in range(num_layers)
        )
        self.feature_proj = nn.Conv2d(embed_dims, embed_dims, kernel_size=1)
        self.query_ffn = QueryFFN(embed_dims)
        self.query_proj = nn.Linear(embed_dims, embed_dims)
        self.bias = nn.Parameter(torch.zeros(1))

    def enlarge(self, feats: Tensor) -> Tensor:
        """Bring the map to the size of the masks.

        Args:
            feats: The first level, shape (bs, embed_dims, h, w).

        Returns:
            Shape (bs, embed_dims, int(h * upsample_ratio),
            int(w * upsample_ratio)).
        """
        size = [int(side * self.upsample_ratio) for side in feats.shape[-2:]]
        return F.interpolate(
            feats, size=size, mode='bilinear', align_corners=False
        )

    def forward(
        self, enlarged: Tensor, hidden_states: Sequence[Tensor]
    ) -> list[MaskFactors]:
        """Masks of every decoder layer.

        Args:
            enlarged: What :meth:`enlarge` gave, shape (bs, embed_dims, h,
                w).
            hidden_states: Normed queries after each layer, shape (bs,
                num_queries, embed_dims); fewer layers run fewer blocks.

        Returns:
            One for each layer.
        """
        masks = []
        for block, queries in zip(self.blocks, hidden_states):
            enlarged = block(enlarged)
            masks.append(self._factors(enlarged, queries))
        return masks

    def of_last_layer(
        self, enlarged: Tensor, hidden_states: Sequence[Tensor]
    ) -> MaskFactors:
        """Masks of the last decoder layer alone.

        Args:
            enlarged: See :meth:`forward`.
            hidden_states: See :meth:`forward`.
        """
        for block in self.blocks[: len(hidden_states)]:
            enlarged = block(enlarged)
        return self._factors(enlarged, hidden_states[-1])

    def of_proposals(
        self, enlarged: Tensor, embeddings: Tensor
    ) -> MaskFactors:
        """Masks of the proposals.

        Args:
            enlarged: What :meth:`enlarge` gave, shape (bs, embed_dims, h,
                w).
            embeddings: Features of the selected positions, shape (bs,
                num_queries, embed_dims).
        """
        return self._factors(enlarged, embeddings)

    def _factors(self, features: Tensor, queries: Tensor) -> MaskFactors:
        return MaskFactors(
            mask_features=self.feature_proj(features),
            query_features=self.query_proj(self.query_ffn(queries)),
            bias=self.bias,
        )
