"""Transformer block of DINOv2 whose attention may span several windows."""

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.drop import DropPath
from mmcv.cnn.bricks.scale import LayerScale
from torch import Tensor, nn

from ..autograd.scaled_gelu_linear import scaled_gelu_linear
from .attend import attend

# Every norm of the ViT; the decoder's norms use PyTorch's 1e-5.
VIT_NORM_EPS = 1e-6


class DINOv2Attention(nn.Module):
    """Multi-head self-attention with separate query, key and value layers.

    Args:
        embed_dims: Channels of a token.
        num_heads: Attention heads; they share ``embed_dims`` evenly.

    Source: rfdetr 1.11.2, Dinov2WithRegistersSdpaSelfAttention.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(embed_dims, embed_dims)
        self.key = nn.Linear(embed_dims, embed_dims)
        self.value = nn.Linear(embed_dims, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, tokens: Tensor, scale: Tensor) -> Tensor:
        """Attend within each row of the batch.

        Args:
            tokens: Shape (bs, num_tokens, embed_dims).
            scale: The factor of every channel of the result, shape
                (embed_dims,).

        Returns:
            Shape (bs, num_tokens, embed_dims).
        """
        out = attend(
            self.query(tokens),
            self.key(tokens),
            self.value(tokens),
            self.num_heads,
        )
        return scaled_linear(self.proj, out, scale)


class DINOv2MLP(nn.Module):
    """Two linear layers with an exact (erf) GELU between them.

    Args:
        embed_dims: Channels of a token.
        hidden_dims: Channels between the two layers.

    Source: rfdetr 1.11.2, Dinov2WithRegistersMLP.
    """

    def __init__(self, embed_dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, tokens: Tensor, scale: Tensor) -> Tensor:
        """Map (..., embed_dims) to (..., embed_dims).

        For the backward pass, what the GELU gives is computed again, and no
        matrix product is.

        Args:
            tokens: Shape (..., embed_dims).
            scale: The factor of every channel of the result, shape
                (embed_dims,).

        Returns:
            Shape (..., embed_dims).
        """
        hidden, fc2 = self.fc1(tokens), self.fc2
        return scaled_gelu_linear(hidden, fc2.weight, fc2.bias, scale)


def scaled_linear(layer: nn.Linear, x: Tensor, scale: Tensor) -> Tensor:
    """Multiply the result of a layer with a scale of every channel.

    In training the weights are multiplied instead: then nothing as large as
    the result is kept for the scale's gradient.

    Args:
        layer: A linear layer, with or without bias.
        x: Its input, shape (..., in_features).
        scale: The factors, shape (out_features,).

    Returns:
        Shape (..., out_features).

    Source: rfdetr 1.11.2, Dinov2WithRegistersLayerScale.
    """
    if not torch.is_grad_enabled() or type(layer) is not nn.Linear:
        return layer(x) * scale
    bias = None if layer.bias is None else layer.bias * scale
    return F.linear(x, layer.weight * scale.unsqueeze(1), bias)


class DINOv2Block(nn.Module):
    """Pre-norm block: attention and MLP, each layer-scaled and droppable.

    Args:
        embed_dims: Channels of a token.
        num_heads: Attention heads.
        mlp_ratio: Hidden channels of the MLP over ``embed_dims``.
        drop_path_rate: Probability of skipping a branch for one window.

    Source: rfdetr 1.11.2, WindowedDinov2WithRegistersLayer.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        mlp_ratio: int = 4,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=VIT_NORM_EPS)
        self.attn = DINOv2Attention(embed_dims, num_heads)
        self.layer_scale1 = LayerScale(embed_dims, scale=1.0)
        self.norm2 = nn.LayerNorm(embed_dims, eps=VIT_NORM_EPS)
        self.mlp = DINOv2MLP(embed_dims, mlp_ratio * embed_dims)
        self.layer_scale2 = LayerScale(embed_dims, scale=1.0)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, windows: Tensor, windows_per_attention: int) -> Tensor:
        """Run the block on windowed tokens.

        Args:
            windows: Shape (bs * num_windows**2, num_tokens, embed_dims).
            windows_per_attention: How many consecutive windows attend to
                each other: 1 keeps every window to itself, num_windows**2
                is global attention over an image (all copies of the class
                token take part).

        Returns:
            Same shape as ``windows``.
        """
        normed = self.norm1(windows)
        merged = normed.view(
            normed.shape[0] // windows_per_attention, -1, normed.shape[2]
        )
        attended = self.attn(merged, self.layer_scale1.weight)
        windows = windows + self.drop_path(attended.view_as(windows))
        normed = self.norm2(windows)
        fed_forward = self.mlp(normed, self.layer_scale2.weight)
        return windows + self.drop_path(fed_forward)
