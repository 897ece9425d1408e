"""One copy of a layer for each query group, run as one batched layer.

Source: Group DETR (arXiv 2207.13085); rfdetr 1.11.2, Transformer, whose
    proposals of each group have layers of their own.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GroupedLinear(nn.Module):
    """A linear layer for each group.

    Args:
        num_groups: Copies of the layer.
        in_dims: Channels of the input.
        out_dims: Channels of the output.
    """

    def __init__(self, num_groups: int, in_dims: int, out_dims: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_groups, out_dims, in_dims))
        self.bias = nn.Parameter(torch.empty(num_groups, out_dims))
        bound = 1 / math.sqrt(in_dims)  # as nn.Linear does
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, num_groups: int) -> Tensor:
        """Apply the layers of the first groups.

        Args:
            x: Shape (num_groups, rows, in_dims), or (1, rows, in_dims) for
                an input that all groups share.
            num_groups: How many groups to run, from the first on.

        Returns:
            Shape (num_groups, rows, out_dims).
        """
        weight = self.weight[:num_groups].transpose(1, 2)
        bias = self.bias[:num_groups].unsqueeze(1)
        return torch.baddbmm(bias, x.expand(num_groups, -1, -1), weight)


class GroupedLayerNorm(nn.Module):
    """A layer norm for each group.

    Args:
        num_groups: Copies of the layer.
        dims: Normalised channels.
    """

    def __init__(self, num_groups: int, dims: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_groups, dims))
        self.bias = nn.Parameter(torch.zeros(num_groups, dims))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (groups, rows, dims), the first groups' rows in order."""
        num_groups, _, dims = x.shape
        normed = F.layer_norm(x, (dims,), eps=1e-5)
        return torch.addcmul(
            self.bias[:num_groups].unsqueeze(1),
            normed,
            self.weight[:num_groups].unsqueeze(1),
        )


class GroupedMLP(nn.ModuleList):
    """Linear layers with ReLU between them, one stack for each group.

    Args:
        num_groups: Copies of the stack.
        in_dims: Channels of the input and of the hidden layers.
        out_dims: Channels of the output.
        num_layers: Linear layers of a stack.
    """

    def __init__(
        self, num_groups: int, in_dims: int, out_dims: int, num_layers: int
    ) -> None:
        widths = [in_dims] * num_layers + [out_dims]
        super().__init__(
            GroupedLinear(num_groups, width_in, width_out)
            for width_in, width_out in zip(widths, widths[1:])
        )

    def forward(self, x: Tensor, num_groups: int) -> Tensor:
        """Map (num_groups, rows, in_dims) to (num_groups, rows, out_dims)."""
        for i, layer in enumerate(self):
            x = layer(x if i == 0 else F.relu(x), num_groups)
        return x
