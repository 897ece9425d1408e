"""Early stopping at the same validation as rfdetr, on random metrics."""

import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.logging import MMLogger
from rfdetr.config import TrainConfig
from rfdetr.training.callbacks import RFDETREarlyStopping

pytestmark = pytest.mark.parity

CONFIG = Path(__file__).parents[2] / 'configs/_base_/early_stopping_runtime.py'
NUM_VALIDATIONS = 60


def metrics(seed, spread):
    """A mean AP that rises ever slower, with noise."""
    draw = random.Random(seed)
    return [
        0.4 - 0.3 * 0.8**i + spread * draw.random()
        for i in range(NUM_VALIDATIONS)
    ]


def our_stop(values, **changes):
    config = dict(Config.fromfile(CONFIG).default_hooks.early_stopping)
    hook = HOOKS.build(dict(config, **changes))
    loop = SimpleNamespace(stop_training=False)
    runner = SimpleNamespace(
        train_loop=loop, logger=MMLogger.get_current_instance()
    )
    for i, value in enumerate(values):
        hook.after_val_epoch(runner, {'coco/bbox_mAP': value})
        if loop.stop_training:
            return i
    return None


def their_stop(values):
    defaults = TrainConfig(dataset_dir='.')
    callback = RFDETREarlyStopping(
        patience=defaults.early_stopping_patience,
        min_delta=defaults.early_stopping_min_delta,
    )
    for i, value in enumerate(values):
        if callback._evaluate_stopping_criteria(torch.tensor(value))[0]:
            return i
    return None


@pytest.mark.parametrize('spread', [1e-4, 2e-3, 2e-2])
def test_stops_where_upstream_does(spread):
    stops = set()
    for seed in range(50):
        values = metrics(seed, spread)
        stops.add(our_stop(values))
        assert our_stop(values) == their_stop(values)
    assert len(stops) > 1


@pytest.mark.parametrize('changes', [dict(patience=9), dict(min_delta=0.01)])
def test_negative_control(changes):
    values = [metrics(seed, 2e-3) for seed in range(20)]
    assert [our_stop(v, **changes) for v in values] != [
        their_stop(v) for v in values
    ]
