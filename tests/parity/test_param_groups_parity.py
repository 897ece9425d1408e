"""Learning rate and weight decay of every parameter against rfdetr's."""

import os

import pytest
import torch

os.environ.setdefault('HF_HUB_OFFLINE', '1')
pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from mmdet.registry import MODELS
from oracle import (
    Pair,
    build_pair,
    build_upstream,
    convert,
    our_config,
    upstream_config,
)
from rfdetr._namespace import _namespace_from_configs
from rfdetr.config import TrainConfig
from rfdetr.training.param_groups import get_param_dict

from rfdetr_mm.engine.optim_wrapper_constructor import (
    RFDETROptimWrapperConstructor,
)

pytestmark = pytest.mark.parity

# Base and Large-deprecated tap blocks 1, 4, 7, 10: block 11 never runs
VARIANTS = {
    'nano': set(range(12)),
    'base': set(range(11)),
    'large-deprecated': set(range(11)),
    'seg-nano': set(range(12)),
}


def upstream_settings(pair: Pair) -> dict[str, list[float]]:
    """{our parameter name: [lr, weight decay]} as rfdetr trains it.

    The settings travel through the weight converter as constant tensors of
    the weights' shapes, which also shows whether stacked groups agree.
    """
    train_config = TrainConfig(dataset_dir='.')
    args = _namespace_from_configs(pair.upstream_config, train_config)
    names = {param: name for name, param in pair.upstream.named_parameters()}
    lrs, decays = {}, {}
    for group in get_param_dict(args, pair.upstream):
        decay = group.get('weight_decay', train_config.weight_decay)
        for param in group['params']:
            name = names[param]
            lrs[name] = constant(group['lr'], param.shape)
            decays[name] = constant(decay, param.shape)
    assert set(lrs) == set(names.values())
    lrs, decays = convert(lrs), convert(decays)
    return {n: [value_of(lrs[n]), value_of(decays[n])] for n in lrs}


def constant(value: float, shape: torch.Size) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64).expand(shape)


def value_of(tensor: torch.Tensor) -> float:
    smallest, largest = tensor.aminmax()
    assert smallest == largest
    return smallest.item()


def our_settings(pair: Pair, **paramwise_cfg) -> dict[str, list[float]]:
    train_config = TrainConfig(dataset_dir='.')
    constructor = RFDETROptimWrapperConstructor(
        dict(
            optimizer=dict(
                type='AdamW',
                lr=train_config.lr,
                weight_decay=train_config.weight_decay,
            )
        ),
        paramwise_cfg,
    )
    groups = constructor(pair.ours).optimizer.param_groups
    names = {param: name for name, param in pair.ours.named_parameters()}
    return {
        names[param]: [group['lr'], group['weight_decay']]
        for group in groups
        for param in group['params']
    }


def assert_parity(found: dict, expected: dict) -> None:
    values = torch.tensor(list(found.values()), dtype=torch.float64)
    targets = torch.tensor([expected[n] for n in found], dtype=torch.float64)
    torch.testing.assert_close(values, targets, rtol=1e-12, atol=0.0)


@pytest.fixture(scope='module')
def nano():
    pair = build_pair('nano')
    return pair, upstream_settings(pair)


@pytest.mark.parametrize('variant', VARIANTS)
def test_settings(variant):
    pair = build_pair(variant)
    found = our_settings(pair)
    expected = upstream_settings(pair)
    # what upstream lists and we do not: tensors that never get a gradient
    assert set(found) <= set(expected)
    for name in set(expected) - set(found):
        idle = name == 'backbone.mask_token' or (
            name.startswith('backbone.blocks.')
            and int(name.split('.')[2]) not in VARIANTS[variant]
        )
        assert idle, name
    assert len(expected) == len(list(pair.ours.parameters()))
    assert_parity(found, expected)
    assert len({tuple(value) for value in found.values()}) > 20


@pytest.mark.parametrize(
    'paramwise_cfg',
    [
        dict(layer_decay_rate=0.81),
        dict(backbone_lr_mult=1.4),
        dict(component_decay_rate=0.69),
        dict(custom_keys={'layer_scale': dict(decay_mult=0.0)}),
    ],
    ids=lambda cfg: next(iter(cfg)),
)
def test_negative_control(nano, paramwise_cfg):
    pair, expected = nano
    with pytest.raises(AssertionError):
        assert_parity(our_settings(pair, **paramwise_cfg), expected)


def test_negative_control_number_of_layers(nano, monkeypatch):
    """Upstream counts one layer more than the last tapped block."""
    pair, expected = nano
    monkeypatch.setattr(pair.ours.backbone, 'out_indices', (2, 5, 8, 10))
    with pytest.raises(AssertionError):
        assert_parity(our_settings(pair), expected)


@pytest.mark.parametrize('frozen_stages, equal', [(12, True), (11, False)])
def test_frozen_encoder(frozen_stages, equal):
    """``freeze_encoder=True`` is ``model.backbone.frozen_stages=12``."""
    config = upstream_config('nano', freeze_encoder=True)
    flags = {
        name: constant(float(param.requires_grad), param.shape)
        for name, param in build_upstream(config).named_parameters()
    }
    expected = {name: value_of(f) for name, f in convert(flags).items()}
    model = our_config('nano')
    model.backbone.frozen_stages = frozen_stages
    found = {
        name: float(param.requires_grad)
        for name, param in MODELS.build(model).named_parameters()
    }
    assert (found == expected) == equal
    frozen = {name for name, flag in expected.items() if not flag}
    assert frozen == {n for n in expected if n.startswith('backbone.')}
