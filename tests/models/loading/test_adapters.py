"""Adapters on a small backbone: what is trained, loaded, merged, refused."""

import copy
import sys

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from rfdetr_mm.adapter_weights import find_adapted_layers
from rfdetr_mm.models.backbones.windowed_dinov2 import WindowedDINOv2
from rfdetr_mm.models.loading.adapters import (
    add_adapters,
    is_adapted,
    merge_adapted_layers,
)

pytest.importorskip('peft', reason='the extra lora is not installed')

TYPES = ('lora', 'dora')
ADAPTED = 12 * 3  # query, key and value of each block


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setitem(
        WindowedDINOv2.arch_settings, 'tiny', dict(embed_dims=24, num_heads=2)
    )


def build(adapters=None, seed=0, **kwargs):
    torch.manual_seed(seed)
    backbone = WindowedDINOv2(
        arch='tiny', img_size=64, out_indices=(0, 3), **kwargs
    )
    if adapters:
        add_adapters(backbone, **{'rank': 2, 'alpha': 3, **adapters})
    return backbone


def train_a_bit(backbone):
    """As if trained: everything that is trainable has moved."""
    with torch.no_grad():
        for param in backbone.parameters():
            if param.requires_grad:
                param.add_(0.2 * torch.randn_like(param))
    return backbone


def outputs(backbone):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 64, 96, generator=generator)
    return backbone.eval()(images)


def assert_same(left, right, **tolerance):
    for a, b in zip(outputs(left), outputs(right), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2])
@pytest.mark.parametrize('type', TYPES)
def test_adapters_alone_are_trained(type, frozen_stages):
    backbone = build(dict(type=type), frozen_stages=frozen_stages)
    parts = ['lora_A', 'lora_B'] + ['lora_magnitude_vector'] * (type == 'dora')
    # blocks after the last tap never run, so theirs stay frozen
    assert {n for n, p in backbone.named_parameters() if p.requires_grad} == {
        f'blocks.{i}.attn.{name}.{part}.default.weight'
        for i in range(max(0, frozen_stages), 4)
        for name in ('query', 'key', 'value')
        for part in parts
    }


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('type', TYPES)
def test_every_adapter_gets_a_gradient(type, with_cp):
    backbone = train_a_bit(build(dict(type=type), with_cp=with_cp))
    sum(
        f.square().mean() for f in backbone(torch.randn(1, 3, 64, 96))
    ).backward()
    for name, param in backbone.named_parameters():
        assert (param.grad is not None) == param.requires_grad, name
        assert param.grad is None or param.grad.any(), name


@pytest.mark.parametrize('type', TYPES)
def test_a_new_adapter_changes_nothing(type):
    assert_same(build(dict(type=type)), build(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('load', ['mmengine', 'torch'])
@pytest.mark.parametrize('type', TYPES)
def test_plain_weights_start_the_adapters_anew(type, load):
    plain = build(seed=1)
    adapted = train_a_bit(build(dict(type=type)))
    given = plain.state_dict()
    keys = list(given)
    if load == 'mmengine':
        load_state_dict(adapted, given, strict=True)
    else:
        adapted.load_state_dict(given)
    assert_same(adapted, plain, rtol=1e-6, atol=1e-6)
    assert list(given) == keys
    for module in adapted.modules():
        if is_adapted(module):
            assert module.lora_A['default'].weight.any()
            assert not module.lora_B['default'].weight.any()


@pytest.mark.parametrize('type', TYPES)
def test_adapters_are_saved_and_loaded(type):
    trained = train_a_bit(build(dict(type=type), seed=1))
    again = build(dict(type=type))
    again.load_state_dict(trained.state_dict())
    assert len(find_adapted_layers(trained.state_dict())) == ADAPTED
    left, right = trained.state_dict(), again.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize('load', ['mmengine', 'torch'])
@pytest.mark.parametrize('type', TYPES)
def test_a_plain_model_merges_them(type, load):
    trained, plain = train_a_bit(build(dict(type=type), seed=1)), build()
    if load == 'mmengine':
        load_state_dict(plain, trained.state_dict(), strict=True)
    else:
        plain.load_state_dict(trained.state_dict())
    assert_same(plain, trained, rtol=1e-4, atol=1e-5)
    with pytest.raises(AssertionError):  # training has changed something
        assert_same(plain, build(seed=1), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize('type', TYPES)
def test_a_live_model_is_merged_without_peft(type, monkeypatch):
    trained = train_a_bit(build(dict(type=type)))
    merged = copy.deepcopy(trained)
    monkeypatch.setitem(sys.modules, 'peft', None)
    assert merge_adapted_layers(merged) == ADAPTED
    assert_same(merged, trained, rtol=1e-4, atol=1e-5)
    assert merged.state_dict().keys() == build().state_dict().keys()
    layer = merged.blocks[0].attn.query
    assert type_of(layer) is nn.Linear and not layer.training
    assert merge_adapted_layers(merged) == 0


def type_of(layer):
    return layer.__class__


@pytest.mark.parametrize(
    'given, match',
    [
        (dict(alpha=5), r'checkpoint have alpha=5.*model.adapters.alpha=5'),
        (dict(rank=4), r'lora_A.default.weight is \(4, 24\).*\(2, 24\)'),
    ],
)
def test_other_strength_or_rank_is_refused(given, match):
    with pytest.raises(ValueError, match=match):
        build(dict(type='dora')).load_state_dict(
            build(dict(given, type='dora')).state_dict()
        )


@pytest.mark.parametrize(
    'adapters, kwargs, match',
    [
        (dict(type='ia3'), {}, r"one of \('lora', 'dora'\), got 'ia3'"),
        (dict(rank=0), {}, 'rank is a positive integer, got 0'),
        (dict(alpha=0.5), {}, 'alpha is a positive integer, got 0.5'),
        (dict(type='lora'), dict(frozen_stages=12), 'frozen_stages below'),
    ],
)
def test_bad_arguments(adapters, kwargs, match):
    with pytest.raises(ValueError, match=match):
        build(adapters, **kwargs)


def test_a_module_without_such_layers_is_refused():
    with pytest.raises(ValueError, match='this Sequential has no trainable'):
        add_adapters(nn.Sequential(nn.Linear(2, 2)))


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'peft', None)
    with pytest.raises(ImportError, match=r'rfdetr_mm\[lora\].*adapters=None'):
        build(dict(type='dora'))
