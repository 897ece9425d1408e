import pytest
import torch
from torch import nn

from rfdetr_mm.errors import InputError
from rfdetr_mm.models.layers.decoder import (
    QuerySelfAttention,
    RFDETRDecoder,
)
from rfdetr_mm.models.layers.decoder_memory import build_memory


def build(num_layers=2):
    torch.manual_seed(0)
    decoder = RFDETRDecoder(
        num_layers,
        16,
        self_attn_num_heads=2,
        cross_attn_num_heads=4,
        num_points=2,
        feedforward_channels=32,
    )
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    memory = build_memory([torch.randn(2, 16, 3, 5)])
    query = torch.randn(2, 3 * 4, 16)
    boxes = torch.rand(2, 3 * 4, 4)
    return decoder, memory, query, boxes


def test_one_group_does_not_see_another():
    decoder, memory, query, boxes = build()
    before = decoder(query, boxes, memory, num_groups=3)
    changed = query.clone()
    changed[:, 4:8] += 1
    after = decoder(changed, boxes, memory, num_groups=3)
    assert torch.equal(before[:, :, :4], after[:, :, :4])
    assert torch.equal(before[:, :, 8:], after[:, :, 8:])
    # every query of the changed group feels it
    difference = (before - after)[:, :, 4:8].abs().amax(-1)
    assert (difference > 1e-4).all()


def test_queries_of_a_group_see_each_other():
    decoder, memory, query, boxes = build()
    before = decoder(query, boxes, memory, num_groups=3)
    changed = query.clone()
    changed[:, 4] += 1
    after = decoder(changed, boxes, memory, num_groups=3)
    assert ((before - after)[:, :, 5:8].abs().amax(-1) > 1e-5).all()


def test_order_of_queries_is_irrelevant():
    decoder, memory, query, boxes = build()
    order = torch.randperm(12)
    plain = decoder(query, boxes, memory, num_groups=1)
    shuffled = decoder(query[:, order], boxes[:, order], memory, 1)
    torch.testing.assert_close(plain[:, :, order], shuffled)


def test_groups_run_together_or_alone():
    decoder, memory, query, boxes = build()
    together = decoder(query, boxes, memory, num_groups=3)
    alone = decoder(query[:, 4:8], boxes[:, 4:8], memory, num_groups=1)
    torch.testing.assert_close(together[:, :, 4:8], alone)


def test_every_layer_is_returned_and_normed():
    decoder, memory, query, boxes = build(num_layers=3)
    out = decoder(query, boxes, memory, num_groups=3)
    assert out.shape == (3, 2, 12, 16)
    decoder.norm.bias.data += 1
    shifted = decoder(query, boxes, memory, num_groups=3)
    torch.testing.assert_close(shifted, out + 1)


def test_self_attention_is_that_of_pytorch():
    torch.manual_seed(0)
    attention = QuerySelfAttention(16, 2)
    nn.init.normal_(attention.in_proj_bias)
    content, pos = torch.randn(2, 3, 5, 16)
    found = attention(content, pos)
    key = content + pos
    expected = nn.MultiheadAttention.forward(
        attention, key, key, content, need_weights=False
    )[0]
    torch.testing.assert_close(found, expected)
    swapped = attention(pos, content)
    assert not torch.allclose(swapped, expected, atol=1e-3)


@pytest.mark.parametrize(
    'name', ['self_attn_num_heads', 'cross_attn_num_heads']
)
@pytest.mark.parametrize('heads', [0, 7])
def test_heads_share_the_channels_evenly(name, heads):
    with pytest.raises(InputError, match=f'{name} .*=32, got {heads}'):
        RFDETRDecoder(1, 32, **{name: heads})
