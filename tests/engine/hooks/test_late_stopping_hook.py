"""The patience begins after the epochs that do not count."""

from types import SimpleNamespace

import pytest

from rfdetr_mm.engine import LateStoppingHook


@pytest.mark.parametrize(('skipped', 'stops_at'), [(0, 3), (2, 5)])
def test_the_first_epochs_do_not_count(skipped, stops_at):
    hook = LateStoppingHook(
        'score', rule='greater', patience=2, skip_best_epochs=skipped
    )
    loop = SimpleNamespace(stop_training=False)
    said = SimpleNamespace(info=lambda text: None)
    runner = SimpleNamespace(epoch=0, train_loop=loop, logger=said)
    hook.before_run(runner)
    while not loop.stop_training:
        runner.epoch += 1
        # The first epoch is the best by far, as of a transient peak.
        hook.after_val_epoch(runner, dict(score=1 / runner.epoch))
        assert runner.epoch < 9
    assert runner.epoch == stops_at
