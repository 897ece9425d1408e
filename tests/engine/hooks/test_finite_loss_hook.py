"""FiniteLossHook: so many losses in a row that are not finite, and no more."""

import logging
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook

from rfdetr_mm.engine import FiniteLossHook
from rfdetr_mm.errors import InputError
from tests.small_run import build

NAN, INF = math.nan, math.inf


def run(losses, patience=3):
    """After how many losses it stops; None if it does not."""
    hook = FiniteLossHook(patience)
    runner = SimpleNamespace(
        logger=logging.getLogger('none'),
        iter=0,
        optim_wrapper=SimpleNamespace(
            optimizer=SimpleNamespace(defaults=dict(lr=0.5))
        ),
        message_hub=SimpleNamespace(runtime_info={}),
    )
    for number, loss in enumerate(losses, start=1):
        runner.iter = number - 1
        outputs = None if loss is None else dict(loss=torch.tensor(loss))
        try:
            hook.after_train_iter(runner, 0, None, outputs)
        except InputError as error:
            assert f'step {number}.' in str(error) and '0.5' in str(error)
            return number
    return None


@pytest.mark.parametrize(
    ('losses', 'stops'),
    [
        ([NAN] * 9, 3),
        ([INF, NAN, -INF, 1.0], 3),
        ([1.0, NAN, NAN, 1.0, NAN, NAN], None),
        ([1.0, NAN, NAN, 1.0, NAN, NAN, NAN], 7),
        ([NAN, NAN, 0.0, NAN], None),
        ([1.0] * 9, None),
        ([None] * 9, None),
    ],
)
def test_in_a_row(losses, stops):
    assert run(losses) == stops


@pytest.mark.parametrize('patience', [0, -1, 1.5, True, None, '3'])
def test_patience_is_a_number(patience):
    with pytest.raises(InputError, match='patience of at least 1'):
        FiniteLossHook(patience)


class Diverge(Hook):
    """The weights are broken after a step."""

    priority = 'VERY_HIGH'

    def __init__(self, step):
        self.step = step

    def after_train_iter(self, runner, batch_idx, *args, **kwargs):
        if runner.iter + 1 == self.step:
            runner.model.last.weight.data[0, 2] = NAN


@pytest.mark.parametrize('patience', [2, 4])
def test_the_last_good_checkpoint_stays(tmp_path, patience):
    custom = [Diverge(step=8), FiniteLossHook(patience)]
    runner = build(tmp_path, custom=custom)  # five steps an epoch
    with pytest.raises(InputError) as caught:
        runner.train()
    good = tmp_path / 'epoch_1.pth'
    # The step that breaks the weights has a loss still.
    assert runner.iter + 1 == 8 + patience
    for part in (f'in {patience} steps in a row', 'now 0.05', str(good)):
        assert part in str(caught.value)
    assert '\n' not in str(caught.value)
    assert [path.name for path in tmp_path.glob('epoch_*')] == [good.name]
    assert (tmp_path / 'last_checkpoint').read_text() == str(good)
    content = torch.load(good, weights_only=False)
    for key in ('state_dict', 'ema_state_dict'):
        assert all(v.isfinite().all() for v in content[key].values())


def test_it_can_be_resumed_from(tmp_path):
    runner = build(tmp_path, custom=[Diverge(step=8), FiniteLossHook(2)])
    with pytest.raises(InputError):
        runner.train()
    runner = build(tmp_path, resume=True)
    runner.train()
    assert runner.epoch == 4
    content = torch.load(tmp_path / 'epoch_4.pth', weights_only=False)
    assert all(v.isfinite().all() for v in content['state_dict'].values())
