"""SafeCheckpointHook: killed anywhere, resumed, the same to the last bit."""

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import EMAHook, Hook

from rfdetr_mm.errors import InputError
from tests.small_run import build, result, same

ROOT = Path(__file__).parents[3]
BOTH = dict(
    val=dict(type='TwoWeightsValLoop'),
    hook=dict(save_best=['score', 'plain/score']),
)
EARLY = dict(
    type='EarlyStoppingHook',
    monitor='score',
    rule='greater',
    patience=2,
    min_delta=0.01,
)
WAITING = dict(EARLY, patience=9, min_delta=5)
WORKERS = dict(num_workers=2, persistent_workers=True)


def killed_and_resumed(**options):
    """Report of tests/small_run.py."""
    done = subprocess.run(
        [sys.executable, 'tests/small_run.py', json.dumps(options)],
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    'options',
    [
        pytest.param(
            dict(every=43, custom=[WAITING], **BOTH), marks=pytest.mark.slow
        ),
        dict(
            every=61,
            loader=WORKERS,
            hook=dict(by_epoch=False, interval=2),
            optim=dict(accumulative_counts=2),
        ),
        pytest.param(
            dict(every=37, ranks=2, loader=WORKERS), marks=pytest.mark.slow
        ),
        pytest.param(
            dict(
                every=3,  # odd: each process is killed in turn
                ranks=2,
                hook=dict(by_epoch=False, interval=2),
                optim=dict(accumulative_counts=2),
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param(dict(every=1), marks=pytest.mark.slow),
        pytest.param(
            dict(every=1, custom=[WAITING], **BOTH), marks=pytest.mark.slow
        ),
        pytest.param(
            dict(every=1, hook=dict(by_epoch=False, interval=2)),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            dict(
                every=5,
                kills=2,
                loader=WORKERS,
                hook=dict(by_epoch=False, interval=3, max_keep_ckpts=2),
                optim=dict(accumulative_counts=3),
            ),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_killed_at_any_moment(options):
    report = killed_and_resumed(**options)
    assert report['tried'] > 3
    # A moment may lie beyond the last one of the second process.
    assert report['killed'] > report['tried'] / 3
    assert report['different'] == []


@pytest.fixture
def finished(tmp_path):
    """A run of four epochs that keeps three checkpoints."""
    build(tmp_path, hook=dict(max_keep_ckpts=3)).train()
    return tmp_path


def resume(work_dir, caplog, **options):
    """Resume for a fifth epoch; (runner, warnings)."""
    runner = build(work_dir, True, train=dict(max_epochs=5), **options)
    monitored = logging.getLogger('small_run')
    monitored.addHandler(caplog.handler)
    runner.logger = monitored
    runner.train()
    return runner, caplog.text


def names(folder):
    return sorted(path.name for path in folder.glob('epoch_*'))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_files_of_a_run(finished):
    assert names(finished) == ['epoch_2.pth', 'epoch_3.pth', 'epoch_4.pth']
    assert (finished / 'last_checkpoint').read_text() == str(
        finished / 'epoch_4.pth'
    )
    assert len(list(finished.glob('best_score_epoch_*.pth'))) == 1
    assert not list(finished.glob('*.incomplete'))


def test_the_best_file_has_a_name_that_stays(finished):
    (best,) = finished.glob('best_score_epoch_*.pth')
    assert (finished / 'best.pth').read_bytes() == best.read_bytes()
    assert (finished / 'best.pth').samefile(best)  # no room is taken


def test_a_half_written_checkpoint_is_passed_over(finished, caplog):
    (finished / 'epoch_9.pth').write_bytes(b'PK\x03\x04 and no more')
    cut(finished / 'epoch_4.pth')
    runner, warnings = resume(finished, caplog, hook=dict(max_keep_ckpts=3))
    assert runner._load_from == str(finished / 'epoch_3.pth')
    assert 'epoch_4.pth' in warnings and 'passed over' in warnings
    assert runner.epoch == 5


@pytest.mark.parametrize('pointer', [None, '', 'nowhere/epoch_7.pth'])
def test_a_lost_pointer_does_not_matter(finished, caplog, pointer):
    (finished / 'last_checkpoint').unlink()
    if pointer is not None:
        (finished / 'last_checkpoint').write_text(pointer)
    (finished / 'epoch_best.pth').write_bytes(b'not a number')
    runner, warnings = resume(finished, caplog)
    assert runner._load_from == str(finished / 'epoch_4.pth')
    assert 'passed over' not in warnings


def test_nothing_complete_is_an_error(finished, caplog):
    for path in finished.glob('epoch_*'):
        cut(path)
    with pytest.raises(InputError, match='nothing to resume from.*epoch_4'):
        resume(finished, caplog)
    assert names(finished) == ['epoch_2.pth', 'epoch_3.pth', 'epoch_4.pth']


def test_nothing_at_all_starts_anew(tmp_path, caplog):
    runner, _ = resume(tmp_path, caplog)
    assert (runner._load_from, runner.epoch) == (None, 5)


def test_leftovers_of_a_killed_process_are_removed(finished, caplog):
    (finished / 'epoch_5.pth.incomplete').write_bytes(b'half')
    (finished / 'mine.incomplete').write_bytes(b'not ours')
    resume(finished, caplog)
    assert [path.name for path in finished.glob('*.incomplete')] == [
        'mine.incomplete'
    ]


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    real, written = os.fsync, []

    def fsync(file):
        written.append(file)
        # epoch 1, its pointer, the best one, epoch 2
        if len(written) >= 4:
            raise OSError(errno.ENOSPC, 'No space left on device')
        real(file)

    monkeypatch.setattr(os, 'fsync', fsync)
    with pytest.raises(
        InputError,
        match=r'epoch_2\.pth.*No space left.*MiB.*epoch_1\.pth.*--resume',
    ):
        build(tmp_path).train()
    assert names(tmp_path) == ['epoch_1.pth']
    assert not list(tmp_path.glob('*.incomplete'))
    monkeypatch.undo()
    build(tmp_path, True).train()
    calm = tmp_path / 'calm'
    build(calm).train()
    assert same(result(tmp_path), result(calm))


def test_a_checkpoint_of_mmengines_hook_resumes_with_a_warning(
    tmp_path, caplog
):
    build(tmp_path, hook=dict(type='CheckpointHook')).train()
    runner, warnings = resume(tmp_path, caplog)
    assert runner.epoch == 5
    assert 'not saved by SafeCheckpointHook' in warnings


class _Copies(Hook):
    """Plain and averaged weights as they are at each validation."""

    priority = 'LOW'

    def __init__(self):
        self.seen = {}

    def after_val_epoch(self, runner, metrics=None):
        ema = next(h for h in runner.hooks if hasattr(h, 'ema_model'))
        average = ema.ema_model.module.state_dict()
        plain = runner.model.state_dict()
        self.seen[runner.epoch] = dict(
            metrics=metrics,
            average={k: v.clone() for k, v in average.items()},
            plain={k: v.clone() for k, v in plain.items()},
        )


def test_best_files_are_kept_apart(tmp_path):
    copies = _Copies()
    build(tmp_path, custom=[copies], **BOTH).train()
    assert len(copies.seen) == 4
    for metric, which in (('score', 'average'), ('plain/score', 'plain')):
        best = max(
            copies.seen, key=lambda i: copies.seen[i]['metrics'][metric]
        )
        pattern = f'best_{metric.replace("/", "_")}_epoch_*.pth'
        (path,) = tmp_path.glob(pattern)
        is_first = metric == 'score'
        assert (tmp_path / 'best.pth').samefile(path) == is_first
        assert path.name.endswith(f'epoch_{best}.pth')
        content = torch.load(path, weights_only=False)
        assert same(content['state_dict'], copies.seen[best][which])
        assert not {'optimizer', 'ema_state_dict'} & set(content)


class _Diverges(Hook):
    """Some detections of some epochs are not finite, as the metric says."""

    priority = 'VERY_HIGH'

    def __init__(self, epochs):
        self.epochs = epochs
        self.scores = {}

    def after_val_epoch(self, runner, metrics=None):
        self.scores[runner.epoch] = metrics['score']
        if runner.epoch in self.epochs:
            metrics['non_finite'] = 7


@pytest.mark.parametrize('epochs', [(), (1,), (2, 3), (1, 2, 3, 4)])
def test_weights_that_give_nan_are_never_the_best(tmp_path, epochs):
    hook = _Diverges(epochs)
    build(tmp_path, custom=[hook], hook=dict(save_best='score')).train()
    finite = [e for e in hook.scores if e not in epochs]
    found = [path.name for path in tmp_path.glob('best_*')]
    if not finite:
        assert found == [] and not (tmp_path / 'best.pth').exists()
        return
    best = max(finite, key=hook.scores.get)
    assert found == [f'best_score_epoch_{best}.pth']
    assert (tmp_path / 'best.pth').samefile(tmp_path / found[0])


class _Breaks(Hook):
    """The plain weights, their average, or both, are broken by a step."""

    priority = 'VERY_HIGH'

    def __init__(self, which, epoch):
        self.which = which
        self.epoch = epoch

    def after_train_epoch(self, runner):
        if runner.epoch + 1 != self.epoch:
            return
        if 'plain' in self.which:
            runner.model.first.bias.data[3] = float('nan')
        if 'average' in self.which:
            (hook,) = [h for h in runner.hooks if isinstance(h, EMAHook)]
            hook.ema_model.module.norm.running_mean[1] = float('inf')


class _Rises(Hook):
    """Each epoch is better than the one before."""

    priority = 'VERY_HIGH'

    def after_val_epoch(self, runner, metrics=None):
        for name in metrics:
            metrics[name] = float(runner.epoch)


@pytest.mark.parametrize(
    ('which', 'best'),
    [
        ('', dict(score=4, plain_score=4)),
        ('plain', dict(score=4, plain_score=2)),
        ('average', dict(score=2, plain_score=4)),
        ('plain, average', dict(score=2, plain_score=2)),
    ],
)
def test_weights_that_are_not_finite_are_never_the_best(tmp_path, which, best):
    custom = [_Rises(), _Breaks(which, epoch=3)]
    build(tmp_path, custom=custom, **BOTH).train()
    found = sorted(path.name for path in tmp_path.glob('best_*'))
    assert found == sorted(
        f'best_{name}_epoch_{epoch}.pth' for name, epoch in best.items()
    )
    for name in found:
        content = torch.load(tmp_path / name, weights_only=False)
        weights = content['state_dict'].values()
        assert all(value.isfinite().all() for value in weights)
    last = (tmp_path / 'last_checkpoint').read_text()
    assert last.endswith('epoch_2.pth' if 'plain' in which else 'epoch_4.pth')


def test_early_stopping_stops(tmp_path):
    runner = build(
        tmp_path,
        custom=[dict(EARLY, patience=1, min_delta=5)],
        train=dict(max_epochs=9),
    )
    runner.train()
    assert runner.epoch == 2  # never better by 5; -1 <= score <= 1
    runner = build(
        tmp_path,
        True,
        custom=[dict(EARLY, patience=1, min_delta=5)],
        train=dict(max_epochs=9),
    )
    runner.train()
    assert runner.epoch == 2


class _Scores(Hook):
    """Given scores, epoch by epoch."""

    priority = 'VERY_HIGH'

    def __init__(self, scores):
        self.scores = scores

    def after_val_epoch(self, runner, metrics=None):
        for name in metrics:
            metrics[name] = self.scores[runner.epoch - 1]


@pytest.mark.parametrize(
    ('scores', 'options', 'best'),
    [
        ((0.9, 0.1, 0.3, 0.2), {}, 1),
        ((0.9, 0.1, 0.3, 0.2), dict(skip_best_epochs=1), 3),
        ((0.9, 0.1, 0.3, 0.2), dict(skip_best_epochs=3), 4),
        # Means from 0 on: 0.1, 0.45, 0.625, 0.5625
        ((0.2, 0.8, 0.8, 0.5), dict(smooth_alpha=0.5), 3),
        # The mean rises in the skipped epochs as well.
        ((0.8, 0.8, 0.1, 0.2), dict(smooth_alpha=0.5, skip_best_epochs=2), 3),
    ],
)
def test_which_epoch_is_the_best(tmp_path, scores, options, best):
    """Of plain weights, the metric's running mean decides."""
    options = dict(save_best=['score', 'plain/score'], **options)
    custom = [_Scores(scores)]
    runner = build(tmp_path, custom=custom, **dict(BOTH, hook=options))
    runner.train()
    (path,) = tmp_path.glob('best_plain_score_*')
    assert path.name.endswith(f'epoch_{best}.pth')
    # The averaged weights go by their metric itself.
    skipped = options.get('skip_best_epochs', 0)
    of_average = max(range(skipped, 4), key=scores.__getitem__) + 1
    (path,) = tmp_path.glob('best_score_*')
    assert path.name.endswith(f'epoch_{of_average}.pth')
    info = runner.message_hub.runtime_info
    assert info['best_score_plain/score'] == scores[best - 1]


@pytest.mark.parametrize(
    'options',
    [dict(skip_best_epochs=-1), dict(smooth_alpha=1.0), dict(smooth_alpha=-1)],
)
def test_impossible_choices_of_the_best(tmp_path, options):
    with pytest.raises(InputError, match='skip_best_epochs must be at least'):
        build(tmp_path, hook=dict(save_best='score', **options))
