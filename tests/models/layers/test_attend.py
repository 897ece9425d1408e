import pytest
import torch

from rfdetr_mm.models.layers.attend import attend


@pytest.mark.parametrize('num_heads', [1, 2, 4])
@pytest.mark.parametrize('num_queries, num_tokens', [(3, 5), (5, 5), (5, 3)])
def test_every_head_weights_its_own_channels(
    num_heads: int, num_queries: int, num_tokens: int
) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, num_queries, 8, dtype=torch.float64)
    key, value = torch.randn(2, 2, num_tokens, 8, dtype=torch.float64)
    out = attend(query, key, value, num_heads)
    width = 8 // num_heads
    for start in range(0, 8, width):
        one = slice(start, start + width)
        logits = query[..., one] @ key[..., one].mT / width**0.5
        expected = logits.softmax(-1) @ value[..., one]
        torch.testing.assert_close(out[..., one], expected)
