"""RFDETROptimWrapperConstructor: learning rates and decays by hand."""

import pytest
import torch
from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.model import MMDistributedDataParallel
from torch import nn

from rfdetr_mm.engine.optim_wrapper_constructor import (
    RFDETROptimWrapperConstructor,
)

LR, WD = 1e-4, 1e-4


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(2)
        self.attn = nn.Module()
        self.attn.query = nn.Linear(2, 2)
        self.attn.proj = nn.Linear(2, 2)
        self.layer_scale1 = nn.Module()
        self.layer_scale1.weight = nn.Parameter(torch.ones(2))
        self.mlp = nn.Module()
        self.mlp.fc1 = nn.Linear(2, 2)


class Backbone(nn.Module):
    """The names of WindowedDINOv2, three blocks, the first two in use."""

    def __init__(self, out_indices=(0, 1)):
        super().__init__()
        self.out_indices = out_indices
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 2))
        self.mask_token = nn.Parameter(torch.zeros(1, 2))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 2))
        self.register_tokens = nn.Parameter(torch.zeros(1, 1, 2))
        self.patch_embed = nn.Conv2d(3, 2, 2)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.norm = nn.LayerNorm(2)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.MultiheadAttention(2, 1)])
        self.norm = nn.LayerNorm(2)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.query_selector = nn.Module()
        self.query_selector.norm = nn.LayerNorm(2)
        self.query_embedding = nn.Parameter(torch.zeros(3, 2))
        self.decoder = Decoder()
        self.cls_branch = nn.Linear(2, 2)


class Detector(nn.Module):
    def __init__(self, backbone=None):
        super().__init__()
        self.backbone = backbone or Backbone()
        self.neck = nn.Sequential(nn.Conv2d(2, 2, 1), nn.LayerNorm(2))
        self.bbox_head = Head()


class HandWrittenNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))


class ResNetLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 2, 1)
        self.bn1 = nn.BatchNorm2d(2)
        self.norm2 = HandWrittenNorm()


def build(model, paramwise_cfg=None, **optimizer):
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='RFDETROptimWrapperConstructor',
            optim_wrapper_cfg=dict(
                type='OptimWrapper',
                optimizer={
                    'type': 'AdamW',
                    'lr': LR,
                    'weight_decay': WD,
                    **optimizer,
                },
                clip_grad=dict(max_norm=0.1),
            ),
            paramwise_cfg=paramwise_cfg,
        )
    )
    return constructor(model).optimizer


def settings_by_name(model, optimizer):
    """{parameter name: (lr, weight decay)} as the optimizer has them."""
    names = {param: name for name, param in model.named_parameters()}
    found = {}
    for group in optimizer.param_groups:
        for param in group['params']:
            assert names[param] not in found
            found[names[param]] = (group['lr'], group['weight_decay'])
    return found


# n = max(out_indices) + 2 = 3; 0.735e-4 = 1e-4 * 1.5 * 0.7**2;
# layer decay 0.8**(n + 1 - layer)
RECIPE = [
    ('backbone.cls_token', 0.735e-4 * 0.8**4, 0.0),
    ('backbone.mask_token', 0.735e-4 * 0.8**4, 0.0),
    ('backbone.pos_embed', 0.735e-4 * 0.8**4, 0.0),
    ('backbone.register_tokens', 0.735e-4 * 0.8**4, 0.0),
    ('backbone.patch_embed.weight', 0.735e-4 * 0.8**4, 0.0),
    ('backbone.patch_embed.bias', 0.735e-4 * 0.8**4, 0.0),
    ('backbone.blocks.0.attn.query.weight', 0.735e-4 * 0.8**3, WD),
    ('backbone.blocks.0.attn.query.bias', 0.735e-4 * 0.8**3, 0.0),
    ('backbone.blocks.0.norm1.weight', 0.735e-4 * 0.8**3, 0.0),
    ('backbone.blocks.0.layer_scale1.weight', 0.735e-4 * 0.8**3, WD),
    ('backbone.blocks.1.mlp.fc1.weight', 0.735e-4 * 0.8**2, WD),
    ('backbone.blocks.1.norm1.bias', 0.735e-4 * 0.8**2, 0.0),
    ('backbone.blocks.2.attn.proj.weight', 0.735e-4 * 0.8, WD),
    ('backbone.norm.weight', 0.735e-4, 0.0),
    ('neck.0.weight', LR, WD),
    ('neck.0.bias', LR, WD),
    ('neck.1.weight', LR, WD),
    ('bbox_head.query_selector.norm.bias', LR, WD),
    ('bbox_head.query_embedding', LR, WD),
    ('bbox_head.cls_branch.bias', LR, WD),
    ('bbox_head.decoder.layers.0.in_proj_weight', 0.7e-4, WD),
    ('bbox_head.decoder.layers.0.in_proj_bias', 0.7e-4, WD),
    ('bbox_head.decoder.norm.weight', 0.7e-4, WD),
    ('bbox_head.decoder.norm.bias', 0.7e-4, WD),
]


def assert_recipe(found, prefix=''):
    for name, lr, weight_decay in RECIPE:
        assert found[prefix + name] == pytest.approx((lr, weight_decay)), name


@pytest.mark.parametrize(
    'paramwise_cfg',
    [
        None,
        {},
        dict(
            backbone_lr_mult=1.5,
            layer_decay_rate=0.8,
            component_decay_rate=0.7,
        ),
    ],
)
def test_recipe(paramwise_cfg):
    model = Detector()
    found = settings_by_name(model, build(model, paramwise_cfg))
    assert set(found) == {name for name, _ in model.named_parameters()}
    assert_recipe(found)


def test_number_of_layers_follows_the_last_tap():
    model = Detector(Backbone(out_indices=(0, 2)))
    found = settings_by_name(model, build(model))
    assert found['backbone.norm.weight'][0] == pytest.approx(0.735e-4)
    assert found['backbone.blocks.2.norm1.weight'][0] == pytest.approx(
        0.735e-4 * 0.8**2
    )
    assert found['backbone.cls_token'][0] == pytest.approx(0.735e-4 * 0.8**5)


def test_other_rates():
    model = Detector()
    rates = dict(
        backbone_lr_mult=2.0, layer_decay_rate=1.0, component_decay_rate=0.5
    )
    found = settings_by_name(model, build(model, rates, lr=0.1))
    assert found['backbone.cls_token'][0] == pytest.approx(0.1 * 2 * 0.25)
    assert found['backbone.norm.weight'][0] == pytest.approx(0.1 * 2 * 0.25)
    assert found['bbox_head.decoder.norm.bias'][0] == pytest.approx(0.05)
    assert found['neck.0.weight'][0] == pytest.approx(0.1)


def test_equal_settings_share_a_group():
    groups = build(Detector()).param_groups
    settings = [(group['lr'], group['weight_decay']) for group in groups]
    # embeddings, 3 blocks with and without decay, norm, decoder, the rest
    assert len(settings) == len(set(settings)) == 1 + 3 * 2 + 1 + 1 + 1


@pytest.mark.parametrize(
    'device, version, expected',
    [
        ('cpu', '2.4.0', True),
        ('cpu', '2.9.1+cu128', True),
        ('cpu', '2.1.2', None),
        ('meta', '2.9.1', None),
    ],
)
def test_fused_auto_follows_device_and_torch(
    monkeypatch, device, version, expected
):
    given = {}

    class Recorder(torch.optim.AdamW):
        def __init__(self, params, **kwargs):
            given.update(kwargs)
            super().__init__(params, lr=kwargs['lr'])

    monkeypatch.setattr(torch, '__version__', version)
    build(Detector().to(device), type=Recorder, fused='auto')
    assert given.get('fused') is expected


def test_frozen_parameters_are_left_out():
    model = Detector()
    model.backbone.mask_token.requires_grad = False
    model.backbone.blocks[2].requires_grad_(False)
    found = settings_by_name(model, build(model))
    left_out = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert len(left_out) == 10
    assert set(found) == {n for n, _ in model.named_parameters()} - left_out


def test_shared_parameter_appears_once():
    model = Detector()
    model.bbox_head.alias = model.bbox_head.cls_branch
    found = settings_by_name(model, build(model))
    assert 'bbox_head.cls_branch.weight' in found


def test_other_backbone_has_no_layer_decay():
    model = Detector(ResNetLike())
    found = settings_by_name(model, build(model))
    for name, weight_decay in (
        ('conv1.weight', WD),
        ('conv1.bias', 0.0),
        ('bn1.weight', 0.0),
        ('bn1.bias', 0.0),
        ('norm2.weight', 0.0),
    ):
        assert found[f'backbone.{name}'] == pytest.approx(
            (0.735e-4, weight_decay)
        )


def test_decoder_beside_the_head():
    """mmdet's DETRs keep their decoder in the detector."""
    model = nn.Module()
    model.backbone, model.decoder = ResNetLike(), Decoder()
    found = settings_by_name(model, build(model))
    assert found['decoder.norm.bias'] == pytest.approx((0.7e-4, WD))


def test_student_of_a_semi_supervised_detector():
    model = nn.Module()
    model.student, model.teacher = Detector(), Detector()
    model.teacher.requires_grad_(False)
    found = settings_by_name(model, build(model))
    assert_recipe(found, prefix='student.')
    assert not any(name.startswith('teacher') for name in found)


def test_distributed_wrapper_is_looked_through():
    model = Detector()
    wrapper = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    nn.Module.__init__(wrapper)
    wrapper.module = model
    assert_recipe(settings_by_name(model, build(wrapper)))


def test_custom_keys_replace_the_rules():
    model = Detector()
    custom_keys = {
        'backbone': dict(lr_mult=0.0),
        'backbone.norm': dict(lr_mult=0.5, decay_mult=3.0),
        'cls_branch': dict(decay_mult=0.0),
    }
    found = settings_by_name(
        model, build(model, dict(custom_keys=custom_keys))
    )
    assert found['backbone.cls_token'] == pytest.approx((0.0, WD))
    assert found['backbone.norm.bias'] == pytest.approx((0.5 * LR, 3 * WD))
    assert found['bbox_head.cls_branch.weight'] == pytest.approx((LR, 0.0))
    assert found['bbox_head.decoder.norm.bias'] == pytest.approx((0.7e-4, WD))


def test_optimizer_without_weight_decay():
    """Its own default stays, except where the recipe has none."""
    model = Detector()
    constructor = RFDETROptimWrapperConstructor(
        dict(optimizer=dict(type='AdamW', lr=LR))
    )
    found = settings_by_name(model, constructor(model).optimizer)
    default = torch.optim.AdamW([nn.Parameter(torch.zeros(1))]).defaults
    assert found['neck.0.weight'] == (LR, default['weight_decay'])
    assert found['backbone.cls_token'][1] == 0.0


@pytest.mark.parametrize(
    ('paramwise_cfg', 'error', 'message'),
    [
        (dict(decay_rate=0.8), ValueError, r'layer_decay_rate.*decay_rate'),
        (dict(norm_decay_mult=0.0), ValueError, r'knows the keys.*norm_decay'),
        (dict(layer_decay_rate=-1), ValueError, r'layer_decay_rate.*got -1'),
        (dict(layer_decay_rate='x'), ValueError, r"layer_decay_rate.*got 'x'"),
        (
            dict(custom_keys=dict(neck=dict(lr=1.0))),
            ValueError,
            r"custom_keys\['neck'\].*lr_mult.*\['lr'\]",
        ),
        (dict(custom_keys=['neck']), TypeError, 'custom_keys must be a dict'),
        ([0.8], TypeError, 'paramwise_cfg should be'),
    ],
)
def test_wrong_settings_are_explained(paramwise_cfg, error, message):
    with pytest.raises(error, match=message):
        build(Detector(), paramwise_cfg)


def test_missing_learning_rate_is_explained():
    with pytest.raises(ValueError, match='optimizer.lr'):
        RFDETROptimWrapperConstructor(dict(optimizer=dict(type='AdamW')))
