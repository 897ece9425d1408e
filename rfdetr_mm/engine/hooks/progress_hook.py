"""Signs of life of a run on the terminal."""

import datetime
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import image_size
from rfdetr_mm_light.interrupts import raise_if_interrupted

from .step_loss import step_loss

try:
    import resource
except ImportError:  # Windows
    resource = None

_SECONDS_TERMINAL = 0.5
_SECONDS_FILE = 10.0
_GIB = 2.0**30
_MAX_CLASSES = 5


@HOOKS.register_module()
class SignOfLifeHook(Hook):
    """Say when the first batch is there and the first step is done.

    mmengine's first line of a training comes after
    ``default_hooks.logger.interval`` steps. It also stops a run whose Ctrl+C
    a library has swallowed.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._start_s: float | None = None
        self._is_done = False

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Say that the first batch is there."""
        raise_if_interrupted()
        if self._start_s is None:
            self._start_s = time.monotonic()
            runner.logger.info('The first batch is loaded.')

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Say what the first step has given."""
        raise_if_interrupted()
        if self._is_done:
            return
        self._is_done = True
        took = time.monotonic() - self._start_s
        runner.logger.info(
            f'The first step took {took:.1f} s{_loss(outputs)}, '
            f'memory {memory_gib():.1f} GiB.'
        )

    def before_val_iter(self, *args: Any, **kwargs: Any) -> None:
        """Stop if Ctrl+C was pressed."""
        raise_if_interrupted()

    def before_test_iter(self, *args: Any, **kwargs: Any) -> None:
        """Stop if Ctrl+C was pressed."""
        raise_if_interrupted()


@HOOKS.register_module()
class ProgressHook(Hook):
    """One line of progress in place of mmengine's log.

    On a terminal the line is written anew, to a file every ten seconds, and
    once for each epoch.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._shown_s = 0.0
        self._start: tuple[float, int] | None = None
        self._outputs: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Say what is trained with, in one line."""
        dataset = runner.train_dataloader.dataset
        classes = dataset.metainfo.get('classes', ())
        shown = ', '.join(map(str, classes[:_MAX_CLASSES]))
        if len(classes) > _MAX_CLASSES:
            shown += ', …'
        validated = ''
        if runner.val_loop is not None:
            validated = (
                f' and {len(runner.val_dataloader.dataset)} to validate'
            )
        optimizer = runner.optim_wrapper.optimizer
        self._end_with(
            f'training on {len(dataset)} images{validated}; {len(classes)} '
            f'classes ({shown}); {_size(runner)}batch '
            f'{runner.cfg.train_dataloader.batch_size}; '
            f'{runner.max_epochs} epoch{"s" * (runner.max_epochs != 1)}; '
            f'{type(optimizer).__name__}, lr '
            f'{optimizer.defaults.get("lr"):g}; {_device(runner)}; into '
            f'{runner.work_dir}'
        )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Say that the first batch is there."""
        if self._start is None:
            self._start = (time.monotonic(), runner.iter)
            self._show(f'{_epoch(runner)}  the first batch is loaded', True)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Show loss, time left and memory."""
        # Not read here: a GPU would have to end the step before.
        loss = (outputs or {}).get('loss')
        self._outputs['loss'] = getattr(loss, 'detach', lambda: loss)()
        start_s, start_iter = self._start
        is_first = runner.iter == start_iter
        if not (is_first or self._is_due()):
            return
        per_iter = (time.monotonic() - start_s) / (
            runner.iter + 1 - start_iter
        )
        left = datetime.timedelta(
            seconds=round(per_iter * (runner.max_iters - runner.iter - 1))
        )
        self._show(
            f'{_epoch(runner)}  {batch_idx + 1}/'
            f'{len(runner.train_dataloader)}{_loss(self._outputs)}, '
            f'{per_iter:.2f} s a step, {left} left, '
            f'{memory_gib():.1f} GiB',
            is_first,
        )

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Show how far the validation is."""
        number = len(runner.val_dataloader)
        self._show(f'validation  {batch_idx + 1}/{number}')

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Show how far the evaluation is."""
        number = len(runner.test_dataloader)
        self._show(f'evaluation  {batch_idx + 1}/{number}', batch_idx == 0)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Say what an epoch has given, in a line that stays."""
        named = [
            key
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook)
            for key in getattr(hook, 'key_indicators', None) or ()
            if key in (metrics or {})
        ]
        shown = ', '.join(f'{key} {metrics[key]:.4f}' for key in named)
        end = _loss(self._outputs) + (f', {shown}' if shown else '')
        self._end_with(f'epoch {runner.epoch}/{runner.max_epochs}{end}')

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """End the line of progress."""
        number = len(runner.test_dataloader.dataset)
        self._end_with(f'evaluated {number} images on {_device(runner)}')

    def _is_due(self) -> bool:
        wait = _SECONDS_TERMINAL if self._is_terminal else _SECONDS_FILE
        return time.monotonic() - self._shown_s >= wait

    def _show(self, line: str, now: bool = False) -> None:
        if not is_main_process() or not (now or self._is_due()):
            return
        self._shown_s = time.monotonic()
        if self._is_terminal:
            print(f'\r{line}\x1b[K', end='', file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _end_with(self, line: str) -> None:
        if is_main_process():
            before, behind = (
                ('\r', '\x1b[K') if self._is_terminal else ('', '')
            )
            print(f'{before}{line}{behind}', file=sys.stderr, flush=True)


def memory_gib() -> float:
    """Most memory of this process so far, in GiB: the GPU's if one is used."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / _GIB
    if resource is None:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _GIB * (1 if sys.platform == 'darwin' else 1024)


def _loss(outputs: dict | None) -> str:
    loss = step_loss(outputs)
    return '' if loss is None else f', loss {loss:.4g}'


def _epoch(runner: Runner) -> str:
    return f'epoch {runner.epoch + 1}/{runner.max_epochs}'


def _size(runner: Runner) -> str:
    try:
        height, width = image_size(runner.cfg)
    except InputError:  # a model of others, which says none
        return ''
    return f'{height} x {width} px; '


def _device(runner: Runner) -> str:
    return str(next(runner.model.parameters()).device)
