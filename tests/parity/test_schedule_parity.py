"""Learning rate and weight average of a run beside rfdetr 1.11.2's."""

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from mmdet.registry import PARAM_SCHEDULERS
from rfdetr.config import TrainConfig
from rfdetr.training.callbacks.ema import RFDETREMACallback
from rfdetr.training.drop_schedule import drop_scheduler
from rfdetr.training.module_model import _build_managed_scheduler
from torch import nn
from torch.optim import SGD

from rfdetr_mm.engine import DropPathHook, WarmupEMA

pytestmark = pytest.mark.parity

EPOCHS, STEPS_PER_EPOCH = 6, 7


def optimizer():
    return SGD([nn.Parameter(torch.ones(1))], lr=0.3)


def rates(optim, scheduler):
    seen = []
    for _ in range(EPOCHS * STEPS_PER_EPOCH):
        seen.append(optim.param_groups[0]['lr'])
        optim.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize('warmup', [0, 1, 1.5])
@pytest.mark.parametrize(
    ('upstream', 'ours'),
    [
        (dict(preset='step', lr_drop=4), dict(type='WarmupStepLR', drop=4)),
        (dict(preset='cosine'), dict(type='WarmupCosineLR')),
        (
            dict(preset='cosine', min_factor=0.2),
            dict(type='WarmupCosineLR', min_factor=0.2),
        ),
    ],
    ids=['step', 'cosine', 'cosine-0.2'],
)
def test_learning_rate(upstream, ours, warmup):
    kwargs = dict(upstream)
    config = TrainConfig(
        dataset_dir='.',
        epochs=EPOCHS,
        warmup_epochs=warmup,
        lr_scheduler=kwargs.pop('preset'),
        lr_scheduler_kwargs=kwargs,
    )
    theirs = optimizer()
    expected = rates(
        theirs,
        _build_managed_scheduler(
            theirs,
            config,
            EPOCHS * STEPS_PER_EPOCH,
            STEPS_PER_EPOCH,
            int(STEPS_PER_EPOCH * warmup),
        ),
    )
    mine = optimizer()
    found = rates(
        mine,
        PARAM_SCHEDULERS.build(
            dict(
                convert_to_iter_based=True, warmup=warmup, end=EPOCHS, **ours
            ),
            default_args=dict(optimizer=mine, epoch_length=STEPS_PER_EPOCH),
        ),
    )
    assert found == pytest.approx(expected, abs=1e-12)
    assert len(set(found)) > 1


class Module(nn.Module):
    """Has what upstream's callback asks of a Lightning module."""

    device = torch.device('cpu')

    def __init__(self, dtype):
        super().__init__()
        self.linear = nn.Linear(3, 2, dtype=dtype)
        self.norm = nn.BatchNorm1d(4, dtype=dtype)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_average_of_weights(dtype):
    model = Module(dtype)
    callback = RFDETREMACallback()  # upstream's decay and tau
    callback.on_fit_start(SimpleNamespace(), model)
    average = WarmupEMA(model)
    assert len(average.avg_parameters) == 2 + 2 + 3
    generator = torch.Generator().manual_seed(1)
    for step in range(1, 121):
        for name, value in model.state_dict().items():
            if name.endswith('num_batches_tracked'):
                value.add_(1)
            else:
                value.copy_(
                    torch.randn(value.shape, generator=generator, dtype=dtype)
                )
        callback.on_train_batch_end(
            SimpleNamespace(global_step=step), model, None, None, 0
        )
        average.update_parameters(model)
        theirs = callback._average_model.module.state_dict()
        mine = average.module.state_dict()
        for name in mine:
            if name.endswith('num_batches_tracked'):
                continue  # upstream averages and truncates this count
            torch.testing.assert_close(
                mine[name], theirs[name], atol=1e-7, rtol=0
            )
    assert not torch.equal(mine['linear.bias'], model.linear.bias)


@pytest.mark.parametrize(
    ('mode', 'shape'),
    [
        ('standard', 'constant'),
        ('early', 'constant'),
        ('early', 'linear'),
        ('late', 'constant'),
    ],
)
@pytest.mark.parametrize('cutoff', [0, 1, 4])
def test_drop_path(mode, shape, cutoff):
    expected = drop_scheduler(
        0.3, EPOCHS, STEPS_PER_EPOCH, cutoff, mode, shape
    )
    hook = DropPathHook(
        0.3, mode if shape == 'constant' else f'{mode}-{shape}', cutoff
    )
    found = [
        hook.rate_at(step, cutoff * STEPS_PER_EPOCH)
        for step in range(EPOCHS * STEPS_PER_EPOCH)
    ]
    assert found == pytest.approx(expected.tolist(), abs=1e-12)
