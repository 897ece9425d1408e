"""A hook that presses Ctrl+C, for configs of tests.

The phase is named by ``INTERRUPT``; then the process signals itself, and with
``GROUP`` its process group, as a terminal does.
"""

import os
import signal

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from rfdetr_mm.engine.atomic_backend import AtomicBackend

PHASE = os.environ.get('INTERRUPT', '')


def press() -> None:
    if os.environ.get('GROUP'):
        os.killpg(0, signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)


@HOOKS.register_module()
class InterruptHook(Hook):
    def before_train_epoch(self, runner):
        if PHASE == 'loading' and runner.epoch == 1:
            press()

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if PHASE == 'training' and runner.epoch == 1:
            press()

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if PHASE == 'validation' and runner.epoch == 2:
            press()


def put_and_press(self, obj, filepath):
    if PHASE == 'writing' and str(filepath).endswith('epoch_2.pth'):
        fsync = os.fsync

        def fsync_and_press(number):
            os.fsync = fsync
            press()

        os.fsync = fsync_and_press
    put(self, obj, filepath)


put = AtomicBackend.put
AtomicBackend.put = put_and_press
