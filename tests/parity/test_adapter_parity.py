"""DoRA adapters and files that hold them, against rfdetr's own."""

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')
pytest.importorskip('peft', reason='the extra lora is not installed')

from compare import END_TO_END, assert_stage
from mmdet.registry import MODELS
from mmengine.optim import build_optim_wrapper
from oracle import (
    Pair,
    build_upstream,
    nested,
    our_config,
    upstream_config,
)
from rfdetr._namespace import _namespace_from_configs
from rfdetr.config import TrainConfig
from rfdetr.models import apply_lora
from rfdetr.training.param_groups import get_param_dict

from rfdetr_mm.checkpoints import to_mmdet_checkpoint

pytestmark = pytest.mark.parity

INPUT_HW = (64, 96)
THEIRS = 'backbone.0.encoder.base_model.model.encoder.encoder.layer.'


def our_name(key):
    """Our key of one of upstream's adapter weights."""
    key = key.replace(THEIRS, 'backbone.blocks.')
    return key.replace('.attention.attention.', '.attn.')


def is_adapter(key):
    return '.lora_' in key


@pytest.fixture(scope='module')
def pair():
    """Nano with random adapters on both sides."""
    config = upstream_config('nano', backbone_lora=True)
    upstream = build_upstream(config)
    apply_lora(upstream)
    with torch.no_grad():
        for name, param in upstream.named_parameters():
            if is_adapter(name):
                param.add_(0.1 * torch.randn_like(param))
    model = our_config('nano')
    model.adapters = dict(type='dora')
    ours = MODELS.build(model)
    checkpoint, _ = to_mmdet_checkpoint({'model': base_weights(upstream)})
    ours.load_state_dict(checkpoint['state_dict'])
    adapters = {
        our_name(key): value
        for key, value in upstream.state_dict().items()
        if is_adapter(key)
    }
    assert len(adapters) == 12 * 3 * 3
    result = ours.load_state_dict({**ours.state_dict(), **adapters})
    assert not result.missing_keys and not result.unexpected_keys
    return Pair(upstream, ours, config, INPUT_HW).train(False)


def base_weights(upstream):
    """Upstream's weights as they were before the adapters."""
    return {
        key.replace('.base_model.model.', '.').replace('.base_layer.', '.'): v
        for key, v in upstream.state_dict().items()
        if not is_adapter(key)
    }


@pytest.fixture(scope='module')
def feats(pair):
    images = pair.images()
    with torch.no_grad():
        theirs = pair.upstream(nested(images))
        return images, theirs


def assert_outputs(ours, images, theirs):
    with torch.no_grad():
        cls_scores, bbox_preds = ours.eval()(images)
    assert_stage(cls_scores[-1], theirs['pred_logits'][..., :-1], **END_TO_END)
    assert_stage(bbox_preds[-1], theirs['pred_boxes'], **END_TO_END)


def test_adapted_forward(pair, feats):
    assert_outputs(pair.ours, *feats)


def test_a_saved_lora_run_is_merged(pair, feats):
    checkpoint, report = to_mmdet_checkpoint(
        {'model': pair.upstream.state_dict()}
    )
    assert 'adapters of 36 layers merged into their weights' in report.notes
    merged = MODELS.build(our_config('nano'))
    merged.load_state_dict(checkpoint['state_dict'])
    assert_outputs(merged, *feats)


def test_negative_control_adapters_left_out(pair, feats):
    plain = MODELS.build(our_config('nano'))
    checkpoint, _ = to_mmdet_checkpoint({'model': base_weights(pair.upstream)})
    plain.load_state_dict(checkpoint['state_dict'])
    with pytest.raises(AssertionError):
        assert_outputs(plain, *feats)


def test_parameters_and_their_settings(pair):
    """The same adapters are trained, with upstream's rates and decay."""
    train_config = TrainConfig(dataset_dir='.')
    args = _namespace_from_configs(pair.upstream_config, train_config)
    names = {p: name for name, p in pair.upstream.named_parameters()}
    expected = {
        our_name(names[group['params']]): (
            group['lr'],
            group.get('weight_decay', train_config.weight_decay),
        )
        for group in single_groups(get_param_dict(args, pair.upstream))
        if 'backbone.0.encoder' in names[group['params']]
    }
    wrapper = build_optim_wrapper(
        pair.ours,
        dict(
            constructor='RFDETROptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
        ),
    )
    names = {p: name for name, p in pair.ours.named_parameters()}
    found = {
        names[param]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for param in group['params']
        if names[param].startswith('backbone.')
    }
    assert found.keys() == expected.keys()
    for name, settings in expected.items():
        assert found[name] == pytest.approx(settings, rel=1e-12), name
    assert len(set(expected.values())) == 12


def single_groups(groups):
    for group in groups:
        params = group['params']
        params = params if isinstance(params, list) else [params]
        for param in params:
            yield dict(group, params=param)
