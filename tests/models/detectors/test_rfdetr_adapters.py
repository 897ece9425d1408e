"""The detector with adapters: config, optimizer, averages, checkpoints."""

import pytest
import torch
from mmdet.registry import MODELS, OPTIM_WRAPPERS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from rfdetr_mm.engine import WarmupEMA
from rfdetr_mm.models import WindowedDINOv2

pytest.importorskip('peft', reason='the extra lora is not installed')

CONFIG = 'configs/rfdetr/rfdetr_nano_coco.py'


@pytest.fixture(scope='module', autouse=True)
def narrow_backbone():
    with pytest.MonkeyPatch.context() as patch:
        narrow = dict(embed_dims=24, num_heads=2)
        patch.setitem(WindowedDINOv2.arch_settings, 'small', narrow)
        yield


def build(request, options=(), seed=0):
    config = Config.fromfile(request.config.rootpath / CONFIG)
    config.model.backbone.img_size = 64
    config.model.neck.in_channels = [24] * 4
    config.model.bbox_head.update(num_classes=3, num_queries=5, num_groups=2)
    config.merge_from_dict(dict(options))
    torch.manual_seed(seed)
    return MODELS.build(config.model), config


@pytest.fixture
def adapted(request):
    """By the one option that a user types."""
    return build(request, {'model.adapters.type': 'dora'})


def trainable(module):
    return {n for n, p in module.named_parameters() if p.requires_grad}


def test_only_the_backbone_changes(request, adapted):
    (model, _), (plain, _) = adapted, build(request)
    layer = model.backbone.blocks[0].attn.query
    assert layer.r['default'] == layer.lora_alpha['default'] == 16
    assert trainable(model.neck) == trainable(plain.neck)
    assert trainable(model.bbox_head) == trainable(plain.bbox_head)
    assert len(trainable(model.backbone)) == 12 * 3 * 3


def test_plain_and_adapted_checkpoints_go_both_ways(request, adapted):
    model, _ = adapted
    plain, _ = build(request, seed=1)
    images = torch.randn(2, 3, 64, 96)
    model.load_state_dict(plain.state_dict())
    torch.testing.assert_close(
        model.eval()(images), plain.eval()(images), rtol=1e-5, atol=1e-5
    )
    with torch.no_grad():
        for param in model.backbone.parameters():
            if param.requires_grad:
                param.add_(0.1 * torch.randn_like(param))
    trained = [scores.clone() for scores in model(images)]
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(
        list(plain(images)), trained, rtol=1e-4, atol=1e-5
    )
    assert model.merge_adapters() == 36
    torch.testing.assert_close(
        list(model(images)), trained, rtol=1e-4, atol=1e-5
    )
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_settings_of_the_optimizer(adapted):
    """An adapter follows the rule of its block; DoRA's lengths decay too."""
    model, config = adapted
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    assert OPTIM_WRAPPERS.get('OptimWrapper') is type(wrapper)
    names = {param: name for name, param in model.named_parameters()}
    found = {
        names[param]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for param in group['params']
    }
    assert set(found) == trainable(model)
    for name in trainable(model.backbone):
        block = int(name.split('.')[1])
        lr = 1.5e-4 * 0.7**2 * 0.8 ** (13 - block)
        assert found[f'backbone.{name}'] == (pytest.approx(lr), 1e-4), name


def test_the_average_keeps_the_strength(adapted):
    model, _ = adapted
    average = WarmupEMA(model)
    with torch.no_grad():
        for _ in range(50):
            for param in model.backbone.parameters():
                if param.requires_grad:
                    param.add_(0.01 * torch.randn_like(param))
            average.update_parameters(model)
    layer = average.module.backbone.blocks[3].attn.value
    assert layer.alpha.item() == 16
    model.load_state_dict(average.module.state_dict())


def test_another_kind_of_adapter_is_refused(request, adapted):
    lora, _ = build(request, {'model.adapters.type': 'lora'})
    with pytest.raises(ValueError, match='missing.*magnitude_vector'):
        adapted[0].load_state_dict(lora.state_dict())
