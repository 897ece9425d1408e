"""What a training under ``soak.py`` imports: its phases, and its end in one.

``SOAK_FOLDER`` is where times and memory are written, ``SOAK_PLAN`` is JSON:
the phase in which this process is to be killed, from which iteration on, and a
seed. The kill is SIGALRM's default action, which the kernel carries out at the
microsecond that was drawn: no handler runs, nothing is flushed.
"""

import contextlib
import functools
import json
import os
import random
import signal
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import dataloader

from rfdetr_mm.engine import SafeCheckpointHook, WarmupEMA

FOLDER = Path(os.environ['SOAK_FOLDER'])
PLAN = json.loads(os.environ.get('SOAK_PLAN', 'null'))
TIMES = 'phases.json'
MEMORY = 'memory.csv'
_SMALLEST_S = 1e-6  # 0 would turn the alarm off
_MOST_MISSES = {'resuming': 1}  # a process resumes once

_durations: dict[str, list[float]] = defaultdict(list)
_now = dict(iter=0, is_training=False, misses=0)
_random = random.Random(PLAN['seed'] if PLAN else 0)


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Time a phase, and end the process within it where that is planned."""
    planned = PLAN and PLAN['phase'] == name and _now['iter'] >= PLAN['at']
    if planned:
        # Shorter each time that the phase ended before the kill.
        delay = _random.uniform(0, PLAN['seconds'] / 2 ** _now['misses'])
        signal.setitimer(signal.ITIMER_REAL, max(delay, _SMALLEST_S))
    start = time.perf_counter()
    try:
        yield
    finally:
        if planned:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _now['misses'] += 1
            if _now['misses'] >= _MOST_MISSES.get(name, 2):
                os.kill(os.getpid(), signal.SIGALRM)  # at its last moment
        _durations[name].append(time.perf_counter() - start)


def _within(name: str, owner: type, method: str) -> None:
    function = getattr(owner, method)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if name == 'data loading' and not _now['is_training']:
            return function(*args, **kwargs)
        with phase(name):
            return function(*args, **kwargs)

    setattr(owner, method, run)


_within('data loading', dataloader._BaseDataLoaderIter, '__next__')
_within('checkpoint writing', SafeCheckpointHook, '_save')
_within('averaging', WarmupEMA, 'update_parameters')
_within('resuming', Runner, 'load_or_resume')


def resident_mib() -> float:
    """Memory of this process that is resident, in MiB."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


@HOOKS.register_module()
class SoakHook(Hook):
    """Follow the phases, and note memory after steps and validations."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self._num_validations = 0
        self._validation = contextlib.ExitStack()
        self._step = contextlib.ExitStack()
        self._memory = open(FOLDER / MEMORY, 'a')

    def before_train_epoch(self, runner: Runner) -> None:
        """What loads data from now on is the training."""
        _now['is_training'] = True

    def after_train_epoch(self, runner: Runner) -> None:
        """What loads data from now on is not the training."""
        _now['is_training'] = False

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """A step begins."""
        _now['iter'] = runner.iter
        self._step.enter_context(phase('anywhere'))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """A step is done."""
        self._step.close()
        self._note('step', runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        """The validation begins."""
        self._validation.enter_context(phase('validation'))

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """The validation is done."""
        self._validation.close()
        self._num_validations += 1
        self._note('validation', self._num_validations)

    def after_train(self, runner: Runner) -> None:
        """Write how long each phase takes, the median."""
        medians = {k: statistics.median(v) for k, v in _durations.items()}
        (FOLDER / TIMES).write_text(json.dumps(medians, indent=1))
        self._memory.flush()

    def _note(self, kind: str, number: int) -> None:
        self._memory.write(f'{kind},{number},{resident_mib():.3f}\n')
