"""Optimizers and schedules by name, path and callable."""

import functools

import pytest
import torch
from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS

from rfdetr_mm.apis.optimizers import (
    as_path,
    optimizer_config,
    schedule_configs,
)
from rfdetr_mm.apis.train_config import TrainConfig
from rfdetr_mm.errors import InputError


def build(given, kwargs=None):
    """The optimizer of a config, without what our constructor resolves."""
    config = optimizer_config(given, kwargs or {}, 0.25, 0.125)
    config.pop('fused', None)
    layer = torch.nn.Linear(2, 3)
    return OPTIMIZERS.build(dict(config, params=layer.parameters()))


@pytest.mark.parametrize(
    ('given', 'kwargs', 'kind', 'expected'),
    [
        ('adamw', {}, torch.optim.AdamW, dict(lr=0.25, weight_decay=0.125)),
        ('AdamW', dict(betas=[0.8, 0.9]), torch.optim.AdamW, {}),
        ('sgd', dict(momentum=0.9), torch.optim.SGD, dict(momentum=0.9)),
        ('torch.optim.SGD', dict(momentum=0.5), torch.optim.SGD, {}),
        ('torch.optim.Rprop', {}, torch.optim.Rprop, dict(lr=0.25)),
        (torch.optim.RAdam, {}, torch.optim.RAdam, dict(weight_decay=0.125)),
        (
            functools.partial(torch.optim.SGD, momentum=0.75),
            {},
            torch.optim.SGD,
            dict(momentum=0.75),
        ),
    ],
    ids=['name', 'case', 'kwargs', 'path', 'no decay', 'class', 'partial'],
)
def test_optimizers(given, kwargs, kind, expected):
    optimizer = build(given, kwargs)
    assert type(optimizer) is kind
    for name, value in expected.items():
        assert optimizer.defaults[name] == value
    if 'betas' in kwargs:
        assert list(optimizer.defaults['betas']) == kwargs['betas']


def test_adamw_is_fused_where_it_can_be():
    assert optimizer_config('adamw', {}, 1.0, 0.0)['fused'] == 'auto'
    given = optimizer_config('adamw', dict(fused=False), 1.0, 0.0)
    assert given['fused'] is False
    assert 'fused' not in optimizer_config('sgd', {}, 1.0, 0.0)


@pytest.mark.parametrize(
    ('given', 'kwargs', 'message'),
    [
        ('adamv', {}, 'one of torch.optim: .*adamw'),
        ('', {}, 'must not be empty'),
        (3, {}, 'must be a name, a path'),
        (lambda params: None, {}, 'can be imported, since checkpoints'),
        ('no_package.Thing', {}, "'no_package.Thing' cannot be imported"),
        ('torch.optim.Nothing', {}, 'cannot be imported'),
        ('sgd', dict(momentun=1), "no argument 'momentun'"),
        ('sgd', dict(lr=1), 'cannot have lr: it is an argument of train'),
        (torch.optim.SGD, dict(momentum=1), 'by functools.partial'),
        (
            functools.partial(torch.optim.SGD, 1),
            {},
            'arguments of functools.partial by their names',
        ),
    ],
    ids=[
        *('name', 'empty', 'number', 'lambda', 'package', 'class'),
        *('argument', 'lr', 'class with kwargs', 'positional'),
    ],
)
def test_bad_optimizers(given, kwargs, message):
    with pytest.raises(InputError, match=message):
        optimizer_config(given, kwargs, 0.1, 0.1)


def rates(configs, num_steps, metrics=()):
    """Learning rates by step of the last schedule."""
    layer = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    schedule = PARAM_SCHEDULERS.build(dict(configs[-1], optimizer=optimizer))
    found = []
    for step in range(num_steps):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        if metrics:
            schedule.step({'val/loss': metrics[step]})
        else:
            schedule.step()
    return found


@pytest.mark.parametrize(
    ('given', 'kwargs'),
    [
        ('StepLR', dict(step_size=2, gamma=0.5)),
        ('torch.optim.lr_scheduler.ExponentialLR', dict(gamma=0.5)),
        ('MultiStepLR', dict(milestones=[1, 3], gamma=0.1)),
        ('CosineAnnealingLR', dict(T_max=5, eta_min=0.1)),
        ('LinearLR', dict(start_factor=0.25, total_iters=3)),
        ('ConstantLR', dict(factor=0.25, total_iters=3)),
        (
            functools.partial(
                torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5
            ),
            {},
        ),
    ],
    ids=['step', 'path', 'milestones', 'cosine', 'linear', 'constant', 'own'],
)
@pytest.mark.parametrize('interval', ['step', 'epoch'])
def test_schedules_give_the_rates_of_torchs(given, kwargs, interval):
    found = rates(schedule_configs(given, kwargs, interval, 'val/loss', 0), 5)
    path, kwargs = as_path('lr_scheduler', given, kwargs)
    kind = getattr(torch.optim.lr_scheduler, path.rpartition('.')[2])
    layer = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    schedule = kind(optimizer, **kwargs)
    expected = []
    for _ in found:
        expected.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        schedule.step()
    assert found == pytest.approx(expected)


def test_a_plateau_watches_the_losses_of_validation():
    kwargs = dict(patience=0, factor=0.5, min_lr=0.3, mode='min')
    (config,) = schedule_configs(
        'ReduceLROnPlateau', kwargs, 'step', 'val/loss', 3
    )
    assert config['monitor'] == 'val/loss' and config['by_epoch']
    assert rates([config], 5, [1.0, 2.0, 2.0, 2.0, 2.0]) == [
        *(1.0, 1.0, 0.5, 0.3, 0.3)
    ]


def test_a_warm_up_comes_first():
    warmup, config = schedule_configs(
        'StepLR', dict(step_size=3), 'epoch', 'x', 2.0
    )
    assert warmup['type'] == 'LinearLR' and warmup['end'] == 2
    assert config == dict(type='StepLR', step_size=3, by_epoch=True)


@pytest.mark.parametrize(
    ('given', 'kwargs', 'message'),
    [
        ('LambdaLR', {}, 'must be one of step, cosine, or of torch'),
        ('StepLR', dict(step=3), "no argument 'step'"),
        (lambda optimizer: None, {}, 'can be imported'),
    ],
    ids=['kind', 'argument', 'lambda'],
)
def test_bad_schedules(given, kwargs, message):
    with pytest.raises(InputError, match=message):
        schedule_configs(given, kwargs, 'step', 'val/loss', 0)


def test_a_config_holds_plain_values():
    given = functools.partial(torch.optim.SGD, momentum=0.9)
    config = TrainConfig(optimizer=given)
    assert config.optimizer.endswith('.SGD')
    assert config.optimizer_kwargs == dict(momentum=0.9)
    config = TrainConfig(lr_scheduler_kwargs=dict(lr_drop=7, min_factor=0.5))
    assert (config.lr_drop, config.lr_min_factor) == (7, 0.5)
    for bad in (3, dict(momentum=torch.ones(1))):
        with pytest.raises(InputError, match='optimizer_kwargs must be'):
            TrainConfig(optimizer='sgd', optimizer_kwargs=bad)
    with pytest.raises(InputError, match='lr_scheduler_kwargs'):
        TrainConfig(lr_scheduler_kwargs=dict(lr_dorp=7))
