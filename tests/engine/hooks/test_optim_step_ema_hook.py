"""OptimStepEMAHook: one update per step of the optimizer."""

import pytest
import torch

from rfdetr_mm.engine import OptimStepEMAHook
from tests.small_run import build


def average_of(runner):
    (hook,) = [h for h in runner.hooks if isinstance(h, OptimStepEMAHook)]
    return hook.ema_model


@pytest.mark.parametrize(
    ('accumulated', 'updates'), [(1, 20), (2, 4 * 3), (5, 4)]
)
def test_updates_are_steps(tmp_path, accumulated, updates):
    runner = build(tmp_path, optim=dict(accumulative_counts=accumulated))
    runner.train()
    assert average_of(runner).steps == updates


def test_checkpoints_have_the_average_in_front(tmp_path):
    runner = build(tmp_path)
    runner.train()
    content = torch.load(tmp_path / 'epoch_4.pth', weights_only=False)
    average = average_of(runner).module.state_dict()
    plain = runner.model.state_dict()
    for name, value in content['state_dict'].items():
        assert torch.equal(value, average[name])
        assert torch.equal(
            content['ema_state_dict'][f'module.{name}'], plain[name]
        )
    assert content['ema_state_dict']['steps'] == 20
    assert not torch.equal(average['last.bias'], plain['last.bias'])
