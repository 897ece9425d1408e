"""DropPathHook: the rates of all blocks in every iteration."""

from types import SimpleNamespace

import pytest
from mmcv.cnn.bricks.drop import DropPath
from mmdet.registry import HOOKS
from torch import nn


def rates(num_blocks=3, epochs=4, length=2, accumulated=1, **options):
    """Per iteration, the rates of all blocks."""
    hook = HOOKS.build(dict(type='DropPathHook', **options))
    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.blocks = nn.ModuleList(
        nn.Module() for _ in range(num_blocks)
    )
    for block in model.backbone.blocks:
        block.drop_path = DropPath(0.5)
    seen = []
    for iteration in range(epochs * length):
        runner = SimpleNamespace(
            model=model,
            iter=iteration,
            train_dataloader=range(length),
            optim_wrapper=SimpleNamespace(_accumulative_counts=accumulated),
        )
        hook.before_train_iter(runner, iteration % length)
        seen.append([b.drop_path.drop_prob for b in model.backbone.blocks])
    return seen


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(), [0.3] * 8),
        (dict(mode='early', cutoff_epoch=2), [0.3] * 4 + [0] * 4),
        (dict(mode='early'), [0] * 8),
        (dict(mode='late', cutoff_epoch=3), [0] * 6 + [0.3] * 2),
        (
            dict(mode='early-linear', cutoff_epoch=2),
            [0.3, 0.2, 0.1, 0, 0, 0, 0, 0],
        ),
    ],
)
def test_rates(options, expected):
    found = rates(rate=0.3, **options)
    assert [last for *_, last in found] == pytest.approx(expected)
    for first, middle, last in found:
        assert (first, middle) == pytest.approx((0, last / 2))


def test_accumulated_iterations_are_one_step():
    options = dict(rate=0.4, mode='early-linear', cutoff_epoch=2)
    found = rates(length=4, accumulated=2, **options)
    assert found[::2] == found[1::2] == rates(**options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(rate=1.0), 'rate.*1.0'),
        (dict(rate=-0.1), 'rate.*-0.1'),
        (dict(rate=0.1, mode='linear'), "early-linear.*'linear'"),
        (dict(rate=0.1, cutoff_epoch=-1), 'cutoff_epoch.*-1'),
    ],
)
def test_wrong_settings_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        rates(**options)
