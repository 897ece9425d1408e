"""Backbone options that no published detector uses, against rfdetr."""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from compare import assert_stage
from mmdet.registry import MODELS
from oracle import build_upstream, convert, our_config, upstream_config
from rfdetr.config import TrainConfig
from rfdetr.inference import _adapt_input_conv

from rfdetr_mm.models.backbones.windowed_dinov2 import adapt_patch_kernel

pytestmark = pytest.mark.parity

IMAGES_HW = (64, 96)


def build_backbones(encoder='dinov2_windowed_small', drop_path=0.0, **ours):
    """Upstream's encoder and our backbone with its weights."""
    config = upstream_config('nano', encoder=encoder)
    train_config = TrainConfig(dataset_dir='.', drop_path=drop_path)
    upstream = build_upstream(config, train_config=train_config)
    model_config = our_config('nano')
    model_config.backbone.update(ours)
    model = MODELS.build(model_config)
    model.load_state_dict(convert(upstream.state_dict()))
    return upstream.backbone[0].encoder, model.backbone


@pytest.fixture
def registers_can_be_built(monkeypatch):
    """rfdetr's file for this encoder names one output beside the four."""
    from rfdetr.models.backbone import dinov2

    original = dinov2.get_config

    def without_out_indices(*args):
        config = dict(original(*args))
        config.pop('out_indices')
        return config

    monkeypatch.setattr(dinov2, 'get_config', without_out_indices)


@torch.no_grad()
def test_registers(registers_can_be_built):
    theirs, ours = build_backbones(
        'dinov2_registers_windowed_small', num_registers=4
    )
    images = torch.randn(2, 3, *IMAGES_HW)
    expected = theirs.eval()(images)
    for actual, wanted in zip(ours.eval()(images), expected):
        assert_stage(actual, wanted)
    ours.register_tokens[..., ::2] += 0.5  # the negative control
    with pytest.raises(AssertionError):
        assert_stage(ours(images)[-1], expected[-1])


@torch.no_grad()
def test_drop_path():
    """The same draws drop the same branches of the same windows."""
    rate = 0.4
    theirs, ours = build_backbones(drop_path=rate, drop_path_rate=rate)
    # Upstream's callback spreads the rate over the blocks at every step.
    for i, layer in enumerate(theirs.encoder.encoder.layer):
        layer.drop_path.drop_prob = rate * i / 11
    images = torch.randn(2, 3, *IMAGES_HW)
    torch.manual_seed(5)
    expected = theirs.train()(images)
    torch.manual_seed(5)
    for actual, wanted in zip(ours.train()(images), expected):
        assert_stage(actual, wanted)
    torch.manual_seed(6)  # the negative control
    with pytest.raises(AssertionError):
        assert_stage(ours(images)[-1], expected[-1])


@pytest.mark.parametrize('in_channels', [1, 2, 3, 4, 6, 7])
def test_patch_kernels_of_other_channels(in_channels):
    weight = torch.randn(8, 3, 16, 16)
    expected = _adapt_input_conv(in_channels, weight)
    assert torch.equal(adapt_patch_kernel(weight, in_channels), expected)
