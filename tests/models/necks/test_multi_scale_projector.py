import pytest
import torch
from torch import nn

from rfdetr_mm.models.necks.multi_scale_projector import MultiScaleProjector


@pytest.mark.parametrize(
    'scale_factors, sizes',
    [
        ((1.0,), [(4, 6)]),
        ((2.0, 0.5), [(8, 12), (2, 3)]),
        ((2.0, 1.0, 0.5), [(8, 12), (4, 6), (2, 3)]),
        ([1], [(4, 6)]),
    ],
)
def test_one_map_for_each_scale(scale_factors, sizes):
    neck = MultiScaleProjector([8, 16], 12, scale_factors)
    feats = [torch.randn(2, 8, 4, 6), torch.randn(2, 16, 4, 6)]
    outs = neck(feats)
    assert [tuple(out.shape) for out in outs] == [
        (2, 12, *size) for size in sizes
    ]


def test_odd_side_is_rounded_up_when_halved():
    outs = MultiScaleProjector([8], 12, (0.5,))([torch.randn(1, 8, 5, 7)])
    assert outs[0].shape == (1, 12, 3, 4)


def test_outputs_are_normed_over_channels():
    outs = MultiScaleProjector([8], 12)([torch.randn(2, 8, 4, 6)])
    torch.testing.assert_close(
        outs[0].mean(1), torch.zeros(2, 4, 6), atol=1e-5, rtol=0
    )


def test_activations():
    """SiLU everywhere but in P5's down-sampler, which has ReLU."""
    neck = MultiScaleProjector([8, 8], 12, (1.0, 0.5))
    kinds = {
        name.split('.')[0]
        for name, module in neck.named_modules()
        if isinstance(module, nn.ReLU)
    }
    assert kinds == {'resamplers'}
    assert sum(isinstance(m, nn.SiLU) for m in neck.modules()) == 2 * 8


@pytest.mark.parametrize(
    'scale_factors', [(), (0.5, 2.0), (1.0, 1.0), (4.0,), (1.0, 0.25)]
)
def test_bad_scale_factors(scale_factors):
    with pytest.raises(ValueError, match='largest first'):
        MultiScaleProjector([8], 12, scale_factors)


def test_wrong_number_of_maps():
    with pytest.raises(ValueError, match='= 2 maps, got 1'):
        MultiScaleProjector([8, 8], 12)([torch.randn(1, 8, 4, 6)])
