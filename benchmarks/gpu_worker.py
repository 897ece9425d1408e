"""One configuration of one side in a process of its own, for gpu_rows.py.

Builds it, warms it up, says so in a line of JSON and then obeys lines on its
standard input: ``run WORK TIMES``, ``memory``, ``flops WORK``. Ends with them.
"""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

import clone  # noqa: F401  first: this clone's package and tools

# isort: split
import torch  # noqa: E402
from arithmetic import flops_of  # noqa: E402
from paired_rounds import peak_mib, synchronize  # noqa: E402
from sides import Job, Work, works_of  # noqa: E402

MIB = 1024**2


class Worker:
    """Works of one configuration and what is measured of them.

    Args:
        device: Where the works run.
        works: Works by name.
    """

    def __init__(self, device: str, works: dict[str, Work]) -> None:
        self.device, self.works = device, works
        self._warm_up_peak = 0.0

    def run(self, name: str, times: str) -> dict[str, float]:
        """Seconds that a work takes so many times."""
        work = self.works[name]
        synchronize(self.device)
        start = time.perf_counter()
        for _ in range(int(times)):
            work()
        synchronize(self.device)
        return dict(seconds=time.perf_counter() - start)

    def warm_up(self, times: int) -> dict[str, Any]:
        """Do everything a few times.

        Args:
            times: How often each work runs.

        Returns:
            Seconds of each time by work; losses of a training's steps.
        """
        seconds: dict[str, list[float]] = {}
        losses = []
        for name, work in self.works.items():
            seconds[name] = []
            for number in range(times):
                start = time.perf_counter()
                found = work()
                if name == 'step':
                    losses.append(float(found))
                synchronize(self.device)
                seconds[name].append(time.perf_counter() - start)
                line = f'{name} {number + 1}: {seconds[name][-1]:.3f} s'
                print(line, file=sys.stderr, flush=True)
        if self.device == 'cuda':
            self._warm_up_peak = torch.cuda.max_memory_allocated() / MIB
            torch.cuda.reset_peak_memory_stats()
        return dict(seconds=seconds, losses=losses)

    def memory(self) -> dict[str, float]:
        """Peaks in MiB: since the warm-up, of everything, of the pool."""
        if self.device != 'cuda':
            return dict.fromkeys(('steps', 'all', 'reserved'), peak_mib())
        steps = torch.cuda.max_memory_allocated() / MIB
        # The pool never shrinks by itself, so this is its largest size.
        reserved = torch.cuda.memory_reserved() / MIB
        peak = max(steps, self._warm_up_peak)
        return dict(steps=steps, all=peak, reserved=reserved)

    def flops(self, name: str) -> dict[str, int | None]:
        """Arithmetic of a work; None if it cannot be counted."""
        try:
            return dict(flops=flops_of(self.works[name]))
        except Exception:
            traceback.print_exc()
            return dict(flops=None)


def last_line(error: BaseException) -> str:
    """Type and last line of an error."""
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[-1].strip()[:300]}'


def serve(
    job: Job,
    warm_up: int,
    lines: TextIO,
    say: Callable[[dict[str, Any]], None],
    **changed: Any,
) -> None:
    """Warm up and obey.

    Args:
        job: What to build.
        warm_up: How often each work is done first.
        lines: Commands: a method of :class:`Worker` and its arguments.
        say: Takes every answer.
        **changed: See :func:`sides.works_of`.
    """
    start = time.perf_counter()
    worker = Worker(job.device, works_of(job, **changed))
    built = time.perf_counter() - start
    found = worker.warm_up(warm_up)
    say(dict(works=list(worker.works), built=built, **found))
    for line in lines:
        name, *arguments = line.split()
        say(getattr(worker, name)(*arguments))


def main() -> int:
    """Serve until there are no more lines; everything else is the log's."""
    parser = argparse.ArgumentParser(description='Obey gpu_rows.py')
    parser.add_argument('job', type=json.loads, help='sides.Job in JSON')
    parser.add_argument(
        'warm_up', type=int, help='how often each work is done'
    )
    args = parser.parse_args()
    channel = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=channel, flush=True)

    try:
        serve(Job(**args.job), args.warm_up, sys.stdin, say)
    except Exception as error:
        traceback.print_exc()
        say(dict(error=last_line(error)))
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
