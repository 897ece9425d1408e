"""Dense attention as two matrix products and a softmax."""

from torch import Tensor


def split_heads(
    projected: Tensor,
    num_tokens: int,
    num_heads: int,
    head_dims: int,
    parts: int,
) -> tuple[Tensor, ...]:
    """Take queries, keys, values apart that lie side by side in rows.

    Args:
        projected: Shape (bs * num_tokens, parts * num_heads * head_dims).
        num_tokens: Rows that attend to each other.
        num_heads: Attention heads.
        head_dims: Channels of a head.
        parts: How many there are.

    Returns:
        All parts, shape (bs, num_heads, num_tokens, head_dims) each.
    """
    heads = projected.reshape(-1, num_tokens, parts * num_heads, head_dims)
    heads = heads.transpose(1, 2)
    return heads.split(num_heads, dim=1) if parts > 1 else (heads,)


def attend(
    query: Tensor, key: Tensor, value: Tensor, embed_dims: int
) -> Tensor:
    """Weight values by the softmax of queries times keys.

    Args:
        query: Divided by sqrt(head_dims), shape (bs, num_heads, num_queries,
            head_dims).
        key: Shape (bs, num_heads, num_tokens, head_dims).
        value: Shape (bs or 1, num_heads, num_tokens, head_dims).
        embed_dims: num_heads * head_dims.

    Returns:
        Shape (bs * num_queries, embed_dims).
    """
    weights = (query @ key.transpose(2, 3)).softmax(dim=-1)
    return (weights @ value).transpose(1, 2).reshape(-1, embed_dims)
