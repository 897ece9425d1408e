"""Multiply-adds of fused attention, which mmengine's counter does not know."""


def attention_products(inputs: list, outputs: list) -> int:
    """Multiply-adds of ``scaled_dot_product_attention``.

    Args:
        inputs: jit values of query (..., L, E), key (..., S, E), value.
        outputs: jit values, not used.

    Returns:
        Of both products.
    """
    query, key, value = (x.type().sizes() for x in inputs[:3])
    pairs = key[-2]
    for size in query[:-1]:
        pairs *= size
    return pairs * (query[-1] + value[-1])
