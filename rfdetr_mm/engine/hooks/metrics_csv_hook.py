"""A table of a training: one row for each epoch."""

import csv
import io
import math
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from rfdetr_mm.checkpoints import atomic_file

FILE = 'metrics.csv'
_FIRST = ('epoch', 'step')
_RATES = ('train/lr', 'train/base_lr')  # their last value, not their mean
_MIB = 2**20


@HOOKS.register_module()
class MetricsCsvHook(Hook):
    """Write ``metrics.csv`` into the work dir, one row for each epoch.

    A row has the number of the epoch and of the optimizer's batches so far
    (``step``), the means of all that training logs over the epoch
    (``train/loss``, ...), the last learning rates, on a GPU the peak of its
    memory (``train/memory``, MiB), and the metrics of the validation after
    it, under their names. A column keeps its place: what an epoch has first,
    such as the first validation, comes as columns on the right, and cells
    without a value are empty.

    The file is replaced as a whole, so that a killed run leaves a complete
    one. A resumed run keeps the rows up to its checkpoint and goes on behind
    them; a run that starts anew replaces the file.

    Source: rfdetr 1.11.2, training/trainer.py, build_trainer (a CSVLogger
        writes a file of this name).
    """

    # Before LoggerHook, which starts the count of memory again.
    priority = 'NORMAL'

    def __init__(self) -> None:
        self._rows: list[dict[str, str]] = []
        self._columns: list[str] = [*_FIRST]
        self._num_steps = 0
        self._memory = 0.0

    def before_train(self, runner: Runner) -> None:
        """Take over what a resumed training has behind it.

        Args:
            runner: The runner that trains.
        """
        self._rows, self._columns = [], [*_FIRST]
        path = Path(runner.work_dir, FILE)
        if runner.iter == 0 or not path.is_file():
            return
        with open(path, newline='') as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = list(reader.fieldnames or ())
        if columns[: len(_FIRST)] != [*_FIRST]:
            runner.logger.warning(
                f'{path} is not a table of this package and is replaced.'
            )
            return
        self._columns = columns
        self._rows = [r for r in rows if int(r['step']) <= runner.iter]

    def before_train_epoch(self, runner: Runner) -> None:
        """Start to count.

        Args:
            runner: The runner that trains.
        """
        self._memory = 0.0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Note the memory.

        Args:
            runner: The runner that trains.
            batch_idx: Number of the batch in the epoch.
            data_batch: The batch, not used.
            outputs: The losses, not used.
        """
        # A resumed epoch begins within; its history was saved.
        self._num_steps = batch_idx + 1
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / _MIB
            self._memory = max(self._memory, peak)

    def after_train_epoch(self, runner: Runner) -> None:
        """Write the row of an epoch.

        Args:
            runner: The runner that trains.
        """
        values: dict[str, Any] = {}
        for name, history in runner.message_hub.log_scalars.items():
            if not name.startswith('train/') or not len(history.data[0]):
                continue
            if name in _RATES:
                values[name] = history.current()
            else:
                values[name] = history.mean(self._num_steps)
        if self._memory:
            values['train/memory'] = round(self._memory)
        self._put(runner, runner.epoch + 1, values)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Add a validation to the row of its epoch.

        Args:
            runner: The runner that trains; one that only validates writes
                nothing.
            metrics: The metrics.
        """
        if runner.iter == 0:
            return
        values = {
            name: value
            for name, value in (metrics or {}).items()
            if isinstance(value, (Real, torch.Tensor))
        }
        self._put(runner, runner.epoch, values)

    def _put(self, runner: Runner, epoch: int, values: dict[str, Any]) -> None:
        if not is_main_process():
            return
        step = str(runner.iter)
        if not self._rows or self._rows[-1]['step'] != step:
            self._rows.append(dict(epoch=str(epoch), step=step))
        row = self._rows[-1]
        row.update({name: _text(value) for name, value in values.items()})
        self._columns += [name for name in row if name not in self._columns]
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator='\n')
        writer.writeheader()
        writer.writerows(self._rows)
        with atomic_file(Path(runner.work_dir, FILE)) as file:
            file.write(text.getvalue().encode())


def _text(value: Any) -> str:
    """A number, short, and the same after reading for what was float32."""
    number = float(value)
    if math.isfinite(number) and number == int(number):
        return str(int(number))
    return f'{number:.9g}'
