import pytest
import torch
from mmdet.registry import MODELS


@pytest.mark.parametrize('scales', [(1.0,), (2.0, 0.5)])
def test_both_projectors_see_the_same_maps(scales):
    config = dict(in_channels=[6, 6], out_channels=8, scale_factors=scales)
    torch.manual_seed(0)
    dual = MODELS.build(dict(type='DualProjector', **config))
    single = MODELS.build(dict(type='MultiScaleProjector', **config))
    maps = [torch.randn(2, 6, 4, 6) for _ in range(2)]
    found = dual(maps)
    assert len(found) == 2 * len(scales)
    for start, prefix in ((0, ''), (len(scales), 'second.')):
        weights = {
            key: dual.state_dict()[prefix + key] for key in single.state_dict()
        }
        single.load_state_dict(weights)
        for a, b in zip(found[start:], single(maps)):
            assert torch.equal(a, b)
