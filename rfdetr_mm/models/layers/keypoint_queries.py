"""Where the keypoint tokens of a query come from."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeypointQueries(nn.Module):
    """Learned keypoint tokens, modulated by the features of an instance.

    Args:
        embed_dims: Channels of instances and keypoints.
        num_keypoints: Tokens of an instance.

    Source: "Scalable Diffusion Models with Transformers" (arXiv 2212.09748),
        adaLN; rfdetr 1.11.2, ConditionalQueryInitializer.
    """

    def __init__(self, embed_dims: int, num_keypoints: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(num_keypoints, embed_dims))
        self.fc1 = nn.Linear(embed_dims, embed_dims)
        self.fc2 = nn.Linear(embed_dims, 3 * embed_dims)
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Make the tokens of every instance.

        Args:
            features: Shape (..., embed_dims).

        Returns:
            Shape (..., num_keypoints, embed_dims).
        """
        modulation = self.fc2(F.gelu(self.fc1(features))).unsqueeze(-2)
        scale, shift, gate = modulation.chunk(3, dim=-1)
        normed = F.layer_norm(self.queries, self.queries.shape[-1:])
        tokens = self.out_proj((scale + 1) * normed + shift)
        return tokens * gate + self.queries
