"""When a run with early_stopping_runtime.py ends, by metrics made by hand."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from tests.small_run import Score, build

CONFIG = Path(__file__).parents[2] / 'configs/_base_/early_stopping_runtime.py'
METRIC = 'coco/bbox_mAP'
# metric after each epoch, the last one for all that follow: epochs trained
SEQUENCES = {
    'flat': ([0.3], 11),
    'rises, then flat': ([0.1, 0.2, 0.3, 0.35, 0.35], 14),
    'too small a rise': ([0.3] + [0.3009] * 10, 11),
    'small rises that add up': ([0.3 + 0.0004 * i for i in range(60)], 20),
    'falls, and rises just in time': (
        [0.3] + [0.1] * 9 + [0.302] + [0.2] * 10,
        20,
    ),
    'a fall alone': ([0.3, 0.2, 0.1], 11),
    'zero at first': ([0.0] * 5 + [0.01] * 2, 16),
    'not a number': ([0.3, float('nan')], 2),
}


def early_stopping():
    return dict(Config.fromfile(CONFIG).default_hooks.early_stopping)


def trained_epochs(folder, monkeypatch, metrics, first=20, max_epochs=20):
    """Epochs of a run; it is cut after ``first`` and resumed."""
    monkeypatch.setattr(Score, 'default_prefix', 'coco')
    runs = []
    for limit in sorted({first, max_epochs}):
        runner = build(
            folder,
            resume=bool(runs),
            train=dict(max_epochs=limit),
            hook=dict(save_best=METRIC),
            custom=[early_stopping()],
        )
        monkeypatch.setattr(
            Score,
            'compute_metrics',
            lambda self, results, r=runner: {
                'bbox_mAP': metrics[min(r.epoch, len(metrics)) - 1]
            },
        )
        runner.train()
        runs.append(runner.epoch)
    return runs[-1]


@pytest.mark.parametrize('name', SEQUENCES)
def test_when_it_stops(tmp_path, monkeypatch, name):
    metrics, epochs = SEQUENCES[name]
    assert trained_epochs(tmp_path, monkeypatch, metrics) == epochs


@pytest.mark.parametrize('first', [1, 4, 7, 10])
def test_a_resumed_run_stops_there_too(tmp_path, monkeypatch, first):
    metrics, epochs = SEQUENCES['rises, then flat']
    found = trained_epochs(tmp_path, monkeypatch, metrics, first=first)
    assert found == epochs


def test_a_resumed_run_that_has_stopped_does_not_go_on(tmp_path, monkeypatch):
    metrics, epochs = SEQUENCES['flat']
    assert trained_epochs(tmp_path, monkeypatch, metrics, 15, 16) == epochs


def test_the_best_weights_are_kept(tmp_path, monkeypatch):
    metrics, _ = SEQUENCES['falls, and rises just in time']
    trained_epochs(tmp_path, monkeypatch, metrics)
    (best,) = tmp_path.glob('best_*.pth')
    assert torch.load(best, weights_only=False)['meta']['epoch'] == 11
