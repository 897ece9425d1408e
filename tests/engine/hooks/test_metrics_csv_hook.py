"""metrics.csv: one row for each epoch, also of runs that were stopped."""

import csv

import numpy as np
import pytest
from mmengine.hooks import Hook

from rfdetr_mm.engine import MetricsCsvHook
from tests.small_run import build

TIMES = ('train/time', 'train/data_time')


def rows_of(folder):
    with open(folder / 'metrics.csv', newline='') as file:
        return list(csv.DictReader(file))


class Losses(Hook):
    """Keeps what the steps gave."""

    def __init__(self):
        self.of_epoch = {}

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        values = self.of_epoch.setdefault(runner.epoch + 1, [])
        values.append(float(outputs['loss']))


def train(folder, *hooks, resume=False, **options):
    custom = [MetricsCsvHook(), *hooks]
    runner = build(folder, resume, custom=custom, **options)
    runner.train()
    return runner


def test_one_row_for_each_epoch(tmp_path):
    losses = Losses()
    train(tmp_path, losses)
    rows = rows_of(tmp_path)
    assert [row['epoch'] for row in rows] == ['1', '2', '3', '4']
    assert [row['step'] for row in rows] == ['5', '10', '15', '20']
    for row in rows:
        mean = np.mean(losses.of_epoch[int(row['epoch'])])
        assert float(row['train/loss']) == pytest.approx(mean, rel=1e-6)
        assert float(row['train/lr']) > 0
        assert row['score']


def test_a_column_keeps_its_place(tmp_path):
    headers = []

    class Look(Hook):
        priority = 'LOWEST'

        def after_train_epoch(self, runner):
            text = (tmp_path / 'metrics.csv').read_text()
            headers.append(text.splitlines()[0].split(','))

    train(tmp_path, Look(), train=dict(val_interval=2))
    assert headers[0][:2] == ['epoch', 'step'] and 'score' not in headers[0]
    assert headers[2] == [*headers[0], 'score']
    assert [bool(row['score']) for row in rows_of(tmp_path)] == [
        *(False, True, False, True)
    ]


class Stop(Hook):
    priority = 'LOWEST'

    def __init__(self, step):
        self.step = step

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('stop', [3, 8, 15, 19])
def test_a_resumed_run_writes_the_same(tmp_path, by_epoch, stop):
    hook = dict(by_epoch=by_epoch, interval=1 if by_epoch else 2)
    train(tmp_path / 'calm', hook=hook)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / 'stopped', Stop(stop), hook=hook)
    train(tmp_path / 'stopped', resume=True, hook=hook)
    calm, stopped = (rows_of(tmp_path / name) for name in ('calm', 'stopped'))
    for row in (*calm, *stopped):
        for name in TIMES:
            row.pop(name, None)
    assert calm == stopped


def test_a_run_that_starts_anew_replaces_it(tmp_path):
    train(tmp_path)
    train(tmp_path, train=dict(max_epochs=2))
    assert len(rows_of(tmp_path)) == 2


def test_a_table_of_others_is_replaced(tmp_path):
    train(tmp_path, train=dict(max_epochs=1))
    (tmp_path / 'metrics.csv').write_text('a,b\n1,2\n')
    train(tmp_path, resume=True, train=dict(max_epochs=2))
    # The validation that a resumed run makes first, and the second epoch
    assert [row['epoch'] for row in rows_of(tmp_path)] == ['1', '2']


def test_a_file_is_whole_or_as_before(tmp_path, monkeypatch):
    train(tmp_path, train=dict(max_epochs=1))
    before = (tmp_path / 'metrics.csv').read_text()

    def full(*args):
        raise OSError('disk is full')

    monkeypatch.setattr('os.replace', full)
    hook = MetricsCsvHook()
    runner = build(tmp_path, custom=[])
    with pytest.raises(OSError):
        hook._put(runner, 1, dict(score=1.0))
    assert (tmp_path / 'metrics.csv').read_text() == before
    assert not list(tmp_path.glob('.metrics*'))


def test_numbers_that_are_not_finite(tmp_path):
    hook = MetricsCsvHook()
    runner = build(tmp_path, custom=[])
    hook._put(runner, 1, dict(a=float('nan'), b=float('inf'), c=3.0))
    assert rows_of(tmp_path)[0] == dict(
        epoch='1', step='0', a='nan', b='inf', c='3'
    )
