import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttention
from mmdet.structures import DetDataSample

from rfdetr_mm.models.layers.decoder_memory import build_memory
from rfdetr_mm.models.layers.deformable_attention import DeformableAttention


@pytest.mark.parametrize('shapes', [[(3, 5)], [(4, 6), (2, 3)]])
@pytest.mark.parametrize('padded', [False, True])
def test_equals_mmcvs_module_without_its_residual(shapes, padded):
    torch.manual_seed(0)
    levels = len(shapes)
    ours = DeformableAttention(16, 4, levels, num_points=3)
    theirs = MultiScaleDeformableAttention(
        16, 4, levels, num_points=3, dropout=0.0, batch_first=True
    )
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.load_state_dict(ours.state_dict())
    height, width = shapes[0]
    sizes = [(height, width), (height - 1, width - 2)]
    samples = [
        DetDataSample(
            metainfo=dict(batch_input_shape=(height, width), img_shape=size)
        )
        for size in sizes
    ]
    feats = [torch.randn(2, 16, *s, requires_grad=True) for s in shapes]
    memory = build_memory(feats, samples if padded else None)
    query = torch.randn(2, 7, 16, requires_grad=True)
    references = torch.rand(2, 7, levels, 4)
    starts = [0, shapes[0][0] * shapes[0][1]][:levels]
    expected = theirs(
        query,
        value=memory.tokens,
        reference_points=references,
        identity=torch.zeros_like(query),
        key_padding_mask=memory.padding_mask,
        spatial_shapes=torch.tensor(shapes),
        level_start_index=torch.tensor(starts),
    )
    actual = ours(query, references, memory)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    gradients = [
        torch.autograd.grad(out.square().sum(), [query, *feats])
        for out in (actual, expected)
    ]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_initial_offsets_point_around_the_box():
    attention = DeformableAttention(16, 4, 1, num_points=2)
    offsets = attention.sampling_offsets.bias.view(4, 2, 2)
    expected = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    torch.testing.assert_close(offsets[:, 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(offsets[:, 1], 2 * expected, atol=1e-6, rtol=0)
