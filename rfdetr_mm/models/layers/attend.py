"""Dense attention of several heads, between any projections."""

import torch.nn.functional as F
from torch import Tensor


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    mask: Tensor | None = None,
) -> Tensor:
    """Let every head weight its channels of the values.

    Args:
        query: Shape (bs, num_queries, embed_dims).
        key: Shape (bs, num_tokens, embed_dims).
        value: Shape (bs, num_tokens, embed_dims).
        num_heads: Heads; they share ``embed_dims`` evenly.
        mask: True where a query may look at a token, shape (num_queries,
            num_tokens); None for everywhere.

    Returns:
        Shape (bs, num_queries, embed_dims).

    Source: "Attention Is All You Need" (arXiv 1706.03762).
    """
    by_head = [
        x.unflatten(2, (num_heads, -1)).transpose(1, 2)
        for x in (query, key, value)
    ]  # (bs, num_heads, rows, head_dims) each
    out = F.scaled_dot_product_attention(*by_head, attn_mask=mask)
    return out.transpose(1, 2).flatten(2)
