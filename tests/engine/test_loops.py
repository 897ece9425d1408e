"""ResumableTrainLoop and TwoWeightsValLoop; resuming is tested with
SafeCheckpointHook."""

import logging

import pytest
import torch
from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from tests.small_run import build


class Notes(Hook):
    priority = 'LOWEST'

    def __init__(self):
        self.batches, self.metrics, self.random = [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        self.batches.append((runner.epoch, batch_idx))

    def before_val(self, runner):
        self.random.append(torch.get_rng_state())

    def before_train_epoch(self, runner):
        self.random.append(torch.get_rng_state())

    def after_val_epoch(self, runner, metrics):
        self.metrics.append(metrics)


def test_epochs_have_whole_windows(tmp_path):
    notes = Notes()
    runner = build(
        tmp_path,
        optim=dict(accumulative_counts=3),
        train=dict(max_epochs=2),
        custom=[notes],
    )
    runner.train()
    # 10 images in batches of 2 are 5 batches, filled up to 6
    assert notes.batches == [(e, i) for e in range(2) for i in range(6)]
    assert len(runner.train_dataloader) == 6
    assert runner.max_iters == 12


@pytest.mark.parametrize(
    ('train', 'validated'),
    [
        (dict(max_epochs=4), 4),
        (dict(max_epochs=5, val_interval=2), 3),  # 2, 4 and the last
        (dict(max_epochs=5, val_begin=4), 2),
    ],
)
def test_validation_as_in_mmengines_loop(tmp_path, train, validated):
    counts = []
    for kind in ('ResumableTrainLoop', 'EpochBasedTrainLoop'):
        notes = Notes()
        build(
            tmp_path / kind, train=dict(train, type=kind), custom=[notes]
        ).train()
        counts.append(len(notes.metrics))
    assert counts == [validated] * 2


def test_validation_takes_no_random_numbers(tmp_path):
    notes = Notes()
    build(tmp_path, custom=[notes]).train()
    # epoch, val, epoch, val, ...: an epoch starts where the last one ended
    for before, after in zip(notes.random[1::2], notes.random[2::2]):
        assert torch.equal(before, after)
    assert not torch.equal(notes.random[0], notes.random[2])


def test_both_weights_are_validated(tmp_path):
    notes = Notes()
    build(tmp_path, val=dict(type='TwoWeightsValLoop'), custom=[notes]).train()
    alone = Notes()
    build(tmp_path / 'alone', custom=[alone]).train()
    for both, one in zip(notes.metrics, alone.metrics):
        assert set(both) == {'score', 'plain/score'}
        assert both['score'] == one['score']
        assert both['plain/score'] != both['score']


def test_two_weights_need_an_average(tmp_path):
    runner = build(tmp_path, val=dict(type='TwoWeightsValLoop'))
    runner._hooks = [h for h in runner.hooks if not hasattr(h, 'ema_cfg')]
    with pytest.raises(ValueError, match='no EMAHook.*ValLoop'):
        runner.train()


def test_a_built_loader_is_refused(tmp_path):
    runner = build(tmp_path)
    runner._train_dataloader = DataLoader([1])
    with pytest.raises(TypeError, match='got DataLoader.*EpochBasedTrain'):
        runner.train()


def test_other_batches_start_the_epoch_again(tmp_path, caplog):
    build(
        tmp_path,
        hook=dict(by_epoch=False, interval=3, save_last=False),
        train=dict(max_epochs=1),
    ).train()
    notes = Notes()
    runner = build(
        tmp_path,
        True,
        hook=dict(by_epoch=False, interval=3),
        loader=dict(batch_size=5),
        train=dict(max_epochs=1),
        custom=[notes],
    )
    runner.logger = logging.getLogger('loops')
    runner.logger.addHandler(caplog.handler)
    runner.train()
    assert 'after batch 3 of 5, but an epoch now has 2' in caplog.text
    assert notes.batches == [(0, 0), (0, 1)]


def test_the_seed_is_the_checkpoints(tmp_path):
    first = build(
        tmp_path, seed=None, train=dict(max_epochs=1), hook=dict(interval=1)
    )
    first.train()
    second = build(tmp_path, True, seed=None, train=dict(max_epochs=2))
    assert second.seed != first.seed
    second.train()
    batches = [r.train_dataloader.batch_sampler for r in (first, second)]
    assert batches[0].seed == batches[1].seed
    assert batches[0].sampler.seed == batches[1].sampler.seed


class Eta(Hook):
    """Notes what the log's ETA is, and what it must be."""

    priority = 'LOWEST'

    def __init__(self):
        self.times, self.etas = [], []

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        times = runner.message_hub.get_scalar('train/time')
        self.times.append(times.current())
        left = runner.max_iters - runner.iter - 1
        mean = sum(self.times) / len(self.times)
        self.etas.append(
            (left, runner.message_hub.get_info('eta'), mean * left)
        )


def test_eta_counts_what_is_left_of_a_resumed_run(tmp_path):
    """Two of four epochs, the second left in the middle by an error."""

    class Stop(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch, outputs):
            if runner.iter == 7:
                raise KeyboardInterrupt

    by_iter = dict(hook=dict(by_epoch=False, interval=2))
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, custom=[Stop()], **by_iter).train()
    eta = Eta()
    build(tmp_path, resume=True, custom=[eta], **by_iter).train()
    # 5 batches in an epoch; iteration 6 was saved.
    assert [left for left, *_ in eta.etas] == list(range(13, -1, -1))
    for _, found, expected in eta.etas:
        assert found == pytest.approx(expected)
