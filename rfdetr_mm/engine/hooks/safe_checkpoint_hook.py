"""Checkpoints from which a stopped training goes on as if it had not."""

import math
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object, get_rank, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner
from torch import Tensor, nn

from rfdetr_mm.checkpoints import all_finite, list_non_finite, name_some
from rfdetr_mm.errors import InputError

from ..atomic_backend import TEMPORARY_SUFFIX, name_as_well
from ..loops import ResumableTrainLoop
from ..random_state import random_state, set_random_state

RESUME_KEY = 'resume_state'
PLAIN_PREFIX = 'plain/'
NON_FINITE = 'non_finite'  # of NamedCocoMetric
BEST_NAME = 'best.pth'
_PATIENCE = ('wait_count', 'best_score')


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """CheckpointHook for runs that may be killed at any moment.

    * A checkpoint appears under its name when it is complete, and the one
      it replaces is removed afterwards.
    * It holds, beside mmengine's content, the random states of all
      processes, the position in the data and the patience of
      EarlyStoppingHook. With ResumableTrainLoop a resumed run then equals
      one that was not stopped, bit for bit on a CPU.
    * ``--resume`` passes over files that are no complete checkpoint.
    * The file of the best ``plain/...`` metric of TwoWeightsValLoop has the
      plain weights as its ``state_dict``, all others have the averaged ones.
      Best files are for inference, so each holds one set of weights.
    * The best file by the first metric of ``save_best`` is ``best.pth`` as
      well, a name that stays the same (in a local folder).
    * Weights that are not finite are not saved, so that the last good
      checkpoint stays; they, and weights with which the metric found
      detections that are not finite (its value ``non_finite``), are never the
      best.

    Args:
        *args: Arguments of CheckpointHook.
        skip_best_epochs: Epochs at the beginning whose weights are never the
            best; they are validated all the same.
        smooth_alpha: From 0 to below 1: part that the running mean of a
            metric keeps from one validation to the next. Whether plain
            weights are the best is then decided by the mean, whose start is
            0; the averaged weights' own metric is not smoothed.
        **kwargs: Keyword arguments of CheckpointHook.

    Raises:
        InputError: If one of the two is not such a number.

    An ``interval`` in iterations
    (``by_epoch=False``) should be a multiple of ``accumulative_counts``:
    gradients of an incomplete window are not saved, and mmengine warns
    about it on resuming.
    """

    def __init__(
        self,
        *args: Any,
        skip_best_epochs: int = 0,
        smooth_alpha: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if skip_best_epochs < 0 or not 0 <= smooth_alpha < 1:
            raise InputError(
                'skip_best_epochs must be at least 0 and smooth_alpha from 0 '
                f'to below 1, got {skip_best_epochs} and {smooth_alpha}'
            )
        self.skip_best_epochs = skip_best_epochs
        self.smooth_alpha = smooth_alpha
        self._saves_plain_best = False
        self._saves_best = False
        self._num_done = 0
        self._states: list[dict[str, Any]] = []
        self._resumed: dict[str, Any] | None = None

    def before_run(self, runner: Runner) -> None:
        """Choose the checkpoint that ``--resume`` without a name takes.

        Args:
            runner: The runner; its ``load_from`` is set.

        Raises:
            InputError: If there are checkpoints and none is complete.
        """
        folder = self._folder(runner)
        if self.backend_args is None and folder is not None:
            self.backend_args = dict(backend='atomic')
        if runner._resume and runner._load_from is None and folder:
            found = _latest_complete(folder, self.filename_tmpl, runner)
            runner._load_from = found and str(found)

    def _folder(self, runner: Runner) -> Path | None:
        """Local folder of the checkpoints; None if it is not local."""
        given = self.out_dir or runner.work_dir
        backend = get_file_backend(str(given), backend_args=self.backend_args)
        if not isinstance(backend, LocalBackend):
            return None
        if self.out_dir in (None, runner.work_dir):
            return Path(runner.work_dir)
        return Path(self.out_dir, Path(runner.work_dir).name)

    def before_train(self, runner: Runner) -> None:
        """Go on where the resumed checkpoint was saved.

        Args:
            runner: The runner.
        """
        super().before_train(runner)
        if is_main_process() and isinstance(self.file_backend, LocalBackend):
            for path in Path(self.out_dir).glob(f'*.pth{TEMPORARY_SUFFIX}'):
                path.unlink()
        state, self._resumed = self._resumed, None
        if state is None:
            return
        if isinstance(runner.train_loop, ResumableTrainLoop):
            runner.train_loop.load_state_dict(state['loop'])
        for hook, patience in zip(_stoppers(runner), state['patience']):
            for name, value in patience.items():
                setattr(hook, name, value)
        if get_rank() < len(state['random']):
            set_random_state(state['random'][get_rank()])

    def after_load_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what :meth:`before_train` needs.

        Args:
            runner: The runner that loads.
            checkpoint: The checkpoint.
        """
        if not runner._resume:
            return
        self._resumed = checkpoint.get(RESUME_KEY)
        if self._resumed is None:
            runner.logger.warning(
                'The checkpoint was not saved by SafeCheckpointHook: random '
                'states and the position in the data start anew, so the '
                'result will differ from an uninterrupted run.'
            )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Save if it is time, counted in iterations.

        Args:
            runner: The runner.
            batch_idx: Number of the batch in the epoch.
            data_batch: Not used.
            outputs: Not used.
        """
        self._num_done = batch_idx + 1
        super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def after_train_epoch(self, runner: Runner) -> None:
        """Save if it is time, counted in epochs.

        Args:
            runner: The runner.
        """
        self._num_done = 0
        super().after_train_epoch(runner)

    def before_save_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Add the state of the run, or reduce a best file to its weights.

        Args:
            runner: The runner that saves.
            checkpoint: The content of the file, changed in place.
        """
        if self._saves_best:
            average = checkpoint.pop('ema_state_dict', {})
            if self._saves_plain_best:
                weights = checkpoint['state_dict']
                # EMAHook has put the plain weights there.
                for name in weights:
                    weights[name] = average[f'module.{name}']
            return
        state = dict(
            random=self._states,
            patience=[
                {name: getattr(hook, name) for name in _PATIENCE}
                for hook in _stoppers(runner)
            ],
        )
        if isinstance(runner.train_loop, ResumableTrainLoop):
            state['loop'] = runner.train_loop.state_dict(self._num_done)
        checkpoint[RESUME_KEY] = state

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict
    ) -> None:
        state = (random_state(cuda=True), _is_finite(runner.model))
        states = all_gather_object(state)
        if not all(finite for _, finite in states):
            self._refuse(runner, step)
            return
        self._states = [state for state, _ in states]
        hub = runner.message_hub
        outdated = []
        if self.max_keep_ckpts > 0:
            kept = [i for i in self.keep_ckpt_ids if i != step] + [step]
            outdated = kept[: -self.max_keep_ckpts]
            # In the file, the outdated ones are still to be removed.
            hub.update_info('keep_ckpt_ids', kept)
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept[-self.max_keep_ckpts :])
        name = self.filename_tmpl.format(step)
        path = self.file_backend.join_path(self.out_dir, name)
        hub.update_info('last_ckpt', path)
        self._save(
            runner,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            **self.args,
        )
        self.last_ckpt = path
        if self.max_keep_ckpts > 0:
            hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        if is_main_process():
            pointer = Path(runner.work_dir, 'last_checkpoint')
            get_file_backend(
                str(pointer), backend_args=dict(backend='atomic')
            ).put_text(path, pointer)
            for old in outdated:
                self._remove(self.filename_tmpl.format(old))

    def _refuse(self, runner: Runner, step: int) -> None:
        weights = dict(_named_weights(runner.model))
        names = list_non_finite(weights)
        what = 'the weights of another process are not finite'
        if names:
            what = name_some(names, len(weights))
        last = runner.message_hub.runtime_info.get('last_ckpt', 'none')
        runner.logger.warning(
            f'{self.filename_tmpl.format(step)} is not saved, because {what}. '
            f'The last good checkpoint is {last}.'
        )

    def _save(self, runner: Runner, name: str, **kwargs: Any) -> None:
        try:
            runner.save_checkpoint(
                self.out_dir, name, backend_args=self.backend_args, **kwargs
            )
        except OSError as error:
            free = ''
            if isinstance(self.file_backend, LocalBackend):
                number = shutil.disk_usage(self.out_dir).free
                free = f' {number / 2**20:.0f} MiB are free there.'
            last = self.last_ckpt or 'none'
            raise InputError(
                f'{name} could not be written to {self.out_dir}: {error}.'
                f'{free} The last complete checkpoint of this run is '
                f'{last}. Make room or choose another work dir, then start '
                'the same command with --resume.'
            ) from error

    def _remove(self, name: str) -> None:
        path = self.file_backend.join_path(self.out_dir, name)
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # as DeepSpeed saves
            self.file_backend.rmtree(path)

    def _save_best_checkpoint(
        self, runner: Runner, metrics: dict[str, float]
    ) -> None:
        """Save the best ones first and remove the former ones then."""
        if not self.save_best:
            return
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        single = len(self.key_indicators) == 1
        step = runner.epoch if self.by_epoch else runner.iter
        hub = runner.message_hub
        for key, rule in zip(self.key_indicators, self.rules):
            suffix = '' if single else f'_{key}'
            score = metrics[key]
            smoothed = self._smoothed(runner, key, score)
            if runner.epoch <= self.skip_best_epochs:
                continue
            # The score is kept beside it: files are compared by that.
            record = f'best_smoothed_{key}'
            if smoothed is score:
                record = f'best_score{suffix}'
            best = self.init_value_map[rule]
            if record in hub.runtime_info:
                best = hub.get_info(record)
            if score is None or not self.is_better_than[key](smoothed, best):
                continue
            if what := _what_is_non_finite(runner, key, metrics):
                runner.logger.warning(
                    f'{key} is {score:0.4f}, but {what} not finite: this '
                    'checkpoint is not taken for the best.'
                )
                continue
            name = f'best_{key}_{self.filename_tmpl.format(step)}'
            name = name.replace('/', '_')
            path = self.file_backend.join_path(self.out_dir, name)
            former = hub.runtime_info.get(f'best_ckpt{suffix}')
            hub.update_info(record, smoothed)
            hub.update_info(f'best_score{suffix}', score)
            hub.update_info(f'best_ckpt{suffix}', path)
            self._save_best_file(runner, key, name)
            if key == self.key_indicators[0]:
                self._name_best(name)
            if single:
                self.best_ckpt_path = path
            else:
                self.best_ckpt_path_dict[key] = path
            if former and former != path and is_main_process():
                self._remove(Path(former).name)
            runner.logger.info(
                f'The best checkpoint by {key}, {score:0.4f}, is saved to '
                f'{name}.'
            )

    def _smoothed(
        self, runner: Runner, key: str, score: float | None
    ) -> float | None:
        """Running mean of a metric of plain weights; else the metric."""
        is_averaged = not key.startswith(PLAIN_PREFIX) and any(
            isinstance(hook, EMAHook) for hook in runner.hooks
        )
        if not self.smooth_alpha or is_averaged or score is None:
            return score
        if not math.isfinite(score):  # it would never leave the mean
            return score
        name, hub = f'smoothed_{key}', runner.message_hub
        mean = hub.get_info(name) if name in hub.runtime_info else 0.0
        mean = self.smooth_alpha * mean + (1 - self.smooth_alpha) * score
        hub.update_info(name, mean)
        return mean

    def _name_best(self, name: str) -> None:
        path = Path(self.out_dir, name)
        is_local = isinstance(self.file_backend, LocalBackend)
        # DeepSpeed saves folders.
        if is_local and is_main_process() and path.is_file():
            name_as_well(path, path.with_name(BEST_NAME))

    def _save_best_file(self, runner: Runner, key: str, name: str) -> None:
        self._saves_best = True
        self._saves_plain_best = key.startswith(PLAIN_PREFIX)
        try:
            self._save(
                runner,
                name,
                save_optimizer=False,
                save_param_scheduler=False,
                meta=dict(epoch=runner.epoch, iter=runner.iter),
                by_epoch=False,
            )
        finally:
            self._saves_best = self._saves_plain_best = False


def _named_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    # Not the state_dict: a sharded model would gather all of it for that.
    yield from model.named_parameters()
    yield from model.named_buffers()


def _is_finite(model: nn.Module) -> bool:
    return all_finite(value for _, value in _named_weights(model))


def _what_is_non_finite(
    runner: Runner, key: str, metrics: dict[str, float]
) -> str | None:
    """What is wrong with the weights that a metric is of, if anything."""
    if num := metrics.get(_beside(key, NON_FINITE), 0):
        return f'{num:.0f} detections were'
    model = runner.model
    if not key.startswith(PLAIN_PREFIX):
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                model = hook.ema_model
    return None if _is_finite(model) else 'weights are'


def _beside(key: str, name: str) -> str:
    """A metric's name with the prefix of another one."""
    prefix, slash, _ = key.rpartition('/')
    return prefix + slash + name


def _stoppers(runner: Runner) -> list[EarlyStoppingHook]:
    return [
        hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)
    ]


def _latest_complete(
    folder: Path, template: str, runner: Runner
) -> Path | None:
    """The newest complete checkpoint of a folder, None if it has none."""
    before, after = template.split('{}')
    numbers = {}
    for path in folder.glob(f'{before}*{after}'):
        number = path.name[len(before) : len(path.name) - len(after)]
        if number.isdigit():
            numbers[path] = int(number)
    candidates = sorted(numbers, key=numbers.get, reverse=True)
    pointer = folder / 'last_checkpoint'
    if pointer.is_file():
        named = Path(pointer.read_text().strip())
        if named.name and named.is_file():
            candidates = [named, *(p for p in candidates if p != named)]
    incomplete = []
    for path in candidates:
        # The table of contents is what torch.save writes last.
        if zipfile.is_zipfile(path):
            if incomplete:
                runner.logger.warning(
                    f'{", ".join(map(str, incomplete))} was not written to '
                    f'its end and is passed over: resuming from {path}.'
                )
            return path
        incomplete.append(path)
    if incomplete:
        raise InputError(
            f'There is nothing to resume from in {folder}: '
            f'{", ".join(map(str, incomplete))} was not written to its end. '
            'Remove it to start the training anew, or name another '
            'checkpoint.'
        )
    return None
