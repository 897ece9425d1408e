"""The line of progress says what is so now."""

from types import SimpleNamespace

import pytest
import torch

from rfdetr_mm.engine.hooks import ProgressHook


@pytest.fixture
def runner():
    return SimpleNamespace(
        iter=0,
        epoch=0,
        max_epochs=2,
        max_iters=6,
        train_dataloader=[None] * 3,
        hooks=[],
    )


@pytest.mark.parametrize('kind', [float, torch.tensor])
def test_the_loss_of_an_epoch_is_that_of_its_last_step(runner, capsys, kind):
    """Also where no line was due since the first step."""
    hook = ProgressHook()
    for epoch in range(2):
        for number in range(3):
            hook.before_train_iter(runner, number)
            loss = kind(10.0 * (epoch + 1) - number)
            hook.after_train_iter(runner, number, outputs=dict(loss=loss))
            runner.iter += 1
        runner.epoch += 1
        hook.after_val_epoch(runner, {})
    lines = capsys.readouterr().err.splitlines()
    assert 'epoch 1/2, loss 8' in lines and 'epoch 2/2, loss 18' in lines
    assert any('  1/3, loss 10, ' in line for line in lines)


def test_a_step_that_tells_no_loss(runner, capsys):
    hook = ProgressHook()
    hook.before_train_iter(runner, 0)
    hook.after_train_iter(runner, 0, outputs=None)
    assert 'loss' not in capsys.readouterr().err
