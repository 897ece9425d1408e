"""Dense attention as two matrix products and a softmax."""

from torch import Tensor


def by_head(
    rows: Tensor, num_tokens: int, num_heads: int, head_dims: int
) -> Tensor:
    """Bring the heads of rows together.

    Args:
        rows: Shape (bs * num_tokens, num_heads * head_dims).
        num_tokens: Rows that attend to each other.
        num_heads: Attention heads.
        head_dims: Channels of a head.

    Returns:
        Shape (bs, num_heads, num_tokens, head_dims).
    """
    heads = rows.reshape(-1, num_tokens, num_heads, head_dims)
    return heads.transpose(1, 2)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dims: int,
    bias: Tensor | None = None,
) -> Tensor:
    """Weight values by the softmax of queries times keys.

    Args:
        query: Divided by sqrt(head_dims), shape (bs, num_heads, num_queries,
            head_dims).
        key: Shape (bs, num_heads, num_tokens, head_dims).
        value: Shape (bs or 1, num_heads, num_tokens, head_dims).
        embed_dims: num_heads * head_dims.
        bias: Added before the softmax, shape (num_queries, num_tokens).

    Returns:
        Shape (bs * num_queries, embed_dims).
    """
    logits = query @ key.transpose(2, 3)
    weights = (logits if bias is None else logits + bias).softmax(dim=-1)
    return (weights @ value).transpose(1, 2).reshape(-1, embed_dims)
