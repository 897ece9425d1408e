"""WarmupStepLR and WarmupCosineLR: every factor of a run, by hand."""

import copy
import math

import pytest
import torch
from mmdet.registry import PARAM_SCHEDULERS
from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import SGD

LR = (0.5, 0.02)


def wrapper(accumulated=1):
    params = [nn.Parameter(torch.ones(1)) for _ in LR]
    groups = [dict(params=[p], lr=lr) for p, lr in zip(params, LR)]
    optimizer = SGD(groups, lr=1.0)
    return OptimWrapper(optimizer, accumulative_counts=accumulated)


def build(optimizer, epoch_length, epochs, **config):
    """As a Runner does it, which hands on what it knows."""
    return PARAM_SCHEDULERS.build(
        dict(convert_to_iter_based=True, end=epochs, **config),
        default_args=dict(optimizer=optimizer, epoch_length=epoch_length),
    )


def factors(epoch_length, epochs, accumulated=1, **config):
    """Factor in use in every iteration, equal for both groups."""
    optim = wrapper(accumulated)
    scheduler = build(optim, epoch_length, epochs, **config)
    assert not scheduler.by_epoch
    seen = []
    for _ in range(epoch_length * epochs):
        rates = [group['lr'] for group in optim.param_groups]
        assert rates[0] / LR[0] == pytest.approx(rates[1] / LR[1], abs=1e-15)
        seen.append(rates[0] / LR[0])
        optim.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(
    ('config', 'expected'),
    [
        (dict(drop=100), [1] * 12),
        (dict(drop=2), [1] * 6 + [0.1] * 6),
        (dict(drop=0), [0.1] * 12),
        (dict(warmup=1), [0, 1 / 3, 2 / 3] + [1] * 9),
        (dict(warmup=1.7, drop=2), [0, 0.2, 0.4, 0.6, 0.8, 1] + [0.1] * 6),
        # fractions of a step are cut off: int(0.3 * 3) = 0
        (dict(warmup=0.3), [1] * 12),
        # a drop within the warm-up shows when that is over
        (dict(warmup=2, drop=1), [i / 6 for i in range(6)] + [0.1] * 6),
    ],
)
def test_step(config, expected):
    found = factors(3, 4, type='WarmupStepLR', **config)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('min_factor', [0.0, 0.25])
@pytest.mark.parametrize('warmup', [0, 1, 2.5])
def test_cosine(warmup, min_factor):
    found = factors(
        4, 5, type='WarmupCosineLR', warmup=warmup, min_factor=min_factor
    )
    start = int(4 * warmup)
    angles = [math.pi * i / (20 - start) for i in range(20 - start)]
    expected = [i / start for i in range(start)] + [
        1 - (1 - min_factor) * math.sin(angle / 2) ** 2 for angle in angles
    ]
    assert found == pytest.approx(expected, abs=1e-12)
    assert found[start] == 1.0
    assert min_factor < found[-1] < 0.3


@pytest.mark.parametrize('kind', ['WarmupStepLR', 'WarmupCosineLR'])
def test_accumulated_iterations_are_one_step(kind):
    every = factors(3, 4, type=kind, warmup=1)
    accumulated = factors(6, 4, accumulated=2, type=kind, warmup=1)
    assert accumulated[::2] == accumulated[1::2] == every


@pytest.mark.parametrize('kind', ['WarmupStepLR', 'WarmupCosineLR'])
def test_resumed_schedule_goes_on(kind):
    whole = factors(4, 3, type=kind, warmup=1)
    first, second = wrapper(), wrapper()
    scheduler = build(first, 4, 3, type=kind, warmup=1)
    for _ in range(7):
        first.step()
        scheduler.step()
    resumed = build(second, 4, 3, type=kind, warmup=1)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    for expected in whole[7:]:
        assert second.param_groups[0]['lr'] == expected * LR[0]
        second.step()
        resumed.step()


def test_a_longer_run_resumes_with_its_own_length():
    optim = wrapper()
    short = build(optim, 4, 1, type='WarmupCosineLR')
    for _ in range(4):
        optim.step()
        short.step()
    assert optim.param_groups[0]['lr'] == pytest.approx(0, abs=1e-12)
    longer = build(optim, 4, 2, type='WarmupCosineLR')
    longer.load_state_dict(short.state_dict())
    optim.step()
    longer.step()
    expected = 0.5 * (1 + math.cos(math.pi * 5 / 8))
    assert optim.param_groups[0]['lr'] == pytest.approx(expected * LR[0])


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='WarmupStepLR', warmup=-1), 'warmup.*-1'),
        (dict(type='WarmupStepLR', drop=-2), 'drop.*-2'),
        (dict(type='WarmupCosineLR', min_factor=1.5), 'min_factor.*1.5'),
    ],
)
def test_wrong_settings_are_explained(config, message):
    with pytest.raises(ValueError, match=message):
        build(wrapper(), 4, 2, **config)


@pytest.mark.parametrize('kind', ['WarmupStepLR', 'WarmupCosineLR'])
def test_resuming_takes_the_rates_of_the_config(kind, log_lines):
    first, second = wrapper(), wrapper()
    scheduler = build(first, 4, 3, type=kind, warmup=1)
    for _ in range(6):
        scheduler.step()
    for group in second.param_groups:
        group['lr'] *= 3
    resumed = build(second, 4, 3, type=kind, warmup=1)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed.load_state_dict(scheduler.state_dict())
    for _ in range(4):
        for old, new in zip(first.param_groups, second.param_groups):
            assert new['lr'] == pytest.approx(3 * old['lr'])
            assert new['initial_lr'] == pytest.approx(3 * old['initial_lr'])
        scheduler.step()
        resumed.step()
    (line,) = [text for text in log_lines if 'resumed' in text]
    # The wrapper has a group of the optimizer's own rate, 1, besides.
    assert 'up to 1;' in line and 'up to 3 ' in line


def test_resuming_with_the_same_rates_says_nothing(log_lines):
    first, second = wrapper(), wrapper()
    schedules = [build(w, 4, 3, type='WarmupStepLR') for w in (first, second)]
    second.load_state_dict(first.state_dict())
    schedules[1].load_state_dict(schedules[0].state_dict())
    assert second.state_dict() == first.state_dict()
    assert not log_lines
