"""The rows of compare_upstream.py on a GPU: processes, rounds, the report.

Every configuration of either side lives in a process of its own, so that no
pool of memory and no compiler is shared. Those of a row start and warm up
together; then they take turns, one at a time, in every round.
"""

import contextlib
import gc
import itertools
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from comparison import Comparison
from gpu_report import comparisons, markdown
from paired_rounds import say
from report import write
from sides import CONFIGURATIONS, SIDES, Job

FORWARD_BATCHES = (1, 32)
# Runs of a work in a round, for each --steps: the shorter, the more.
TIMES = {('train_step', None): 1, ('forward', 1): 4, ('forward', 32): 2}
AT_ONCE = dict(train_step=4)  # processes, for the memory; else all
WARM_UP = dict(train_step=12, forward=6)
ROUND_LIMIT = 120  # seconds that one answer may take
WORKER = Path(__file__).with_name('gpu_worker.py')


class WorkerError(RuntimeError):
    """A process failed, with the last line of what it said."""


class Process:
    """A process of gpu_worker.py.

    Args:
        job: What it does.
        logs: Folder of a file for what it prints.
    """

    def __init__(self, job: Job, logs: Path) -> None:
        self.job, self.name = job, job.name
        self.results: list[dict[str, Any]] = []
        parts = (job.row, job.batch_size, job.side, job.configuration)
        self.log = logs / f'{"-".join(map(str, parts))}.log'
        logs.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        # All processes of a row compile at once.
        environment.setdefault('TORCHINDUCTOR_COMPILE_THREADS', '4')
        command = [sys.executable, '-W', 'ignore', str(WORKER)]
        with self.log.open('w') as file:
            self._process = subprocess.Popen(
                [*command, json.dumps(vars(job)), str(WARM_UP[job.row])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=environment,
            )

    def start_results(self, found: dict[str, Any]) -> None:
        """Begin an entry of the report for each work.

        Args:
            found: What the process said when it was ready.
        """
        job = self.job
        self.results = [
            dict(
                row=job.row,
                batch_size=job.batch_size,
                side=job.side,
                configuration=job.configuration,
                work=work,
                images_per_s=[],
                warm_up_s=sum(found['seconds'][work]),
                losses=found['losses'],
                memory=None,
                flops=None,
            )
            for work in found['works']
        ]

    def answer(self, limit: float) -> dict[str, Any]:
        """Wait for a line.

        Args:
            limit: Seconds.

        Raises:
            WorkerError: If it takes longer, or the process failed.
        """
        output = self._process.stdout
        if not select.select([output], [], [], max(limit, 0.1))[0]:
            self._process.kill()
            raise WorkerError(f'no answer in {limit:.0f} s')
        line = output.readline()
        if not line:
            code = self._process.wait()
            said = self.log.read_text(errors='replace').strip().splitlines()
            last = said[-1].strip()[:300] if said else 'said nothing'
            raise WorkerError(f'ended with {code}: {last}')
        found = json.loads(line)
        if 'error' in found:
            raise WorkerError(found['error'])
        return found

    def tell(self, line: str) -> None:
        """Give a command; a process that ended has no answer then."""
        with contextlib.suppress(BrokenPipeError):
            print(line, file=self._process.stdin, flush=True)

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class GpuComparison(Comparison):
    """The rows on a GPU."""

    def check(self) -> None:
        """See :meth:`Comparison.check`; the memory is the processes'."""
        super().check()
        del self.ours, self.upstream
        gc.collect()
        torch.cuda.empty_cache()

    def jobs(self, row: str) -> list[Job]:
        """What is done for a row.

        What is compared with each other is next to each other, so that few
        processes at once are enough.
        """
        args = self.args
        sizes = (args.batch_size,) if row == 'train_step' else FORWARD_BATCHES
        table = CONFIGURATIONS[row]
        pairs = itertools.zip_longest(*(table[side] for side in SIDES))
        common = (args.variant, str(self.weights), args.device)
        return [
            Job(side, row, name, size, *common)
            for size, pair in itertools.product(sizes, pairs)
            for side, name in zip(SIDES, pair)
            if name in args.configurations
        ]

    def run(self) -> None:
        """All rows; the report is written after every step."""
        for row in CONFIGURATIONS:
            if row not in self.args.rows:
                continue
            jobs = self.jobs(row)
            count = self.args.at_once or AT_ONCE.get(row, 99)
            for first in range(0, len(jobs), count):
                self._wave(row, jobs[first : first + count])

    def _wave(self, row: str, jobs: Sequence[Job]) -> None:
        """Start some configurations together and time them in turn."""
        processes: list[Process] = []
        say(f'{row}: {len(jobs)} processes start')
        start = time.perf_counter()
        try:
            for job in jobs:
                processes.append(Process(job, self.args.out / 'logs'))
            for process in processes:
                left = self.args.limit - (time.perf_counter() - start)
                found = self._try(process, limit=left)
                if found is not None:
                    say(f'{process.name}: ready, {_warm_up(found)}')
                    process.start_results(found)
            say(f'{row}: {time.perf_counter() - start:.0f} s to warm up')
            self._rounds(row, processes)
        finally:
            for process in processes:
                process.close()

    def _try(
        self,
        process: Process,
        line: str | None = None,
        limit: float = ROUND_LIMIT,
    ) -> dict | None:
        """Answer of a process; None, and the report says why, if it fails.

        Args:
            process: Whom to ask.
            line: The command; None to wait for the first answer.
            limit: Seconds.
        """
        if process.name in self.content['skipped']:
            return None
        try:
            if line is not None:
                process.tell(line)
            return process.answer(limit)
        except WorkerError as error:
            say(f'{process.name}: {error}')
            self.content['skipped'][process.name] = str(error)
            self.write()
            return None

    def _rounds(self, row: str, processes: Sequence[Process]) -> None:
        """Rounds of all, every second one in the opposite order."""
        works = [
            (process, result)
            for process in processes
            for result in process.results
        ]
        for number in range(self.args.rounds):
            for process, result in works[:: -1 if number % 2 else 1]:
                size = result['batch_size'] if row == 'forward' else None
                times = self.args.steps * TIMES[row, size]
                found = self._try(process, f'run {result["work"]} {times}')
                if found is None:
                    continue
                if result not in self.content['rows']:
                    self.content['rows'].append(result)
                images = times * result['batch_size']
                result['images_per_s'].append(images / found['seconds'])
            say(f'{row}: round {number + 1} of {self.args.rounds}')
            self.write()
        for process, result in works:
            if row == 'train_step':
                result['memory'] = self._try(process, 'memory')
            # The arithmetic of what recomputes nothing.
            plain = (result['side'], result['configuration'])
            if plain == ('rfdetr', 'eager') and result['work'] != 'fp32':
                found = self._try(process, f'flops {result["work"]}')
                result['flops'] = found and found['flops']
        self.write()
        for one in comparisons(self.content['rows']):
            say('{what}: {ours} / {theirs}: {ratio[median]:.3f}'.format(**one))

    def write(self) -> None:
        """Write compare.json and compare.md."""
        write(self.args.out, 'compare', self.content, self.markdown())

    def markdown(self) -> str:
        """The text of compare.md."""
        return markdown(self.content)


def _warm_up(found: dict[str, Any]) -> str:
    parts = [f'built in {found["built"]:.1f} s']
    for work, seconds in found['seconds'].items():
        parts.append(
            f'{work} warmed up in {sum(seconds):.1f} s (first '
            f'{seconds[0]:.2f}, last {seconds[-1]:.4f})'
        )
    if found['losses']:
        parts.append(
            f'loss {found["losses"][0]:.4f} to {found["losses"][-1]:.4f}'
        )
    return ', '.join(parts)
