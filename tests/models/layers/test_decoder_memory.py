import torch
from mmdet.structures import DetDataSample

from rfdetr_mm.models.layers.decoder_memory import build_memory


def samples(input_shape, *img_shapes):
    return [
        DetDataSample(
            metainfo=dict(batch_input_shape=input_shape, img_shape=shape)
        )
        for shape in img_shapes
    ]


def test_tokens_are_levels_in_row_major_order():
    feats = [torch.randn(2, 3, 4, 6), torch.randn(2, 3, 2, 3)]
    memory = build_memory(feats)
    assert memory.spatial_shapes == [(4, 6), (2, 3)]
    assert memory.tokens.shape == (2, 4 * 6 + 2 * 3, 3)
    assert torch.equal(memory.tokens[1, 1 * 6 + 5], feats[0][1, :, 1, 5])
    assert torch.equal(memory.tokens[0, 24 + 1 * 3 + 2], feats[1][0, :, 1, 2])


def test_nothing_is_padded_without_samples_or_with_full_images():
    feats = [torch.randn(2, 3, 4, 6)]
    for given in (None, samples((32, 48), (32, 48), (32, 48))):
        memory = build_memory(feats, given)
        assert memory.padding_mask is None
        assert memory.valid_ratios.tolist() == [[[1.0, 1.0]]] * 2


def test_padding_of_an_image_half_as_wide():
    feats = [torch.randn(2, 3, 4, 6), torch.randn(2, 3, 2, 3)]
    memory = build_memory(feats, samples((32, 48), (32, 48), (16, 24)))
    mask = memory.padding_mask[1, :24].view(4, 6)
    assert not memory.padding_mask[0].any()
    assert (~mask).nonzero().tolist() == [
        [y, x] for y in range(2) for x in range(3)
    ]
    # (w, h) in cells, then as a part of the level
    assert memory.valid_sizes[1].tolist() == [[3.0, 2.0], [2.0, 1.0]]
    torch.testing.assert_close(
        memory.valid_ratios[1], torch.tensor([[0.5, 0.5], [2 / 3, 0.5]])
    )
