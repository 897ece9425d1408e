"""The rows of compare_upstream.py on a GPU: processes, rounds, the report.

Every configuration of either side lives in a process of its own, so that no
pool of memory and no compiler is shared. Those of a row start and warm up
together; then they take turns, one at a time, in every round.
"""

import argparse
import contextlib
import gc
import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from gpu_report import comparisons, markdown, result_of
from paired_rounds import machine, matmul_peak, say
from report import write
from run_config import stop
from sides import FORWARD, SIDES, TRAINING, Upstream, parity

GPU_ROWS = ('train_step', 'forward')
CONFIGURATIONS = tuple(
    dict.fromkeys(
        name
        for row in (TRAINING, FORWARD)
        for side in SIDES
        for name in row[side]
    )
)
FORWARD_BATCHES = (1, 32)
# Runs of a work in a round, for each --steps: the shorter, the more.
TIMES = {('train_step', None): 1, ('forward', 1): 4, ('forward', 32): 2}
AT_ONCE = dict(train_step=4)  # processes, for the memory; else all
WARM_UP = dict(train_step=12, forward=6)
TOLERANCE = 2e-3  # of logits and boxes of a query, in float32
AGREEING = 0.9  # of the queries, or nothing is timed
ROUND_LIMIT = 120  # seconds that one answer may take
WORKER = Path(__file__).with_name('gpu_worker.py')


def add_gpu_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``--device cuda``."""
    group = parser.add_argument_group('with --device cuda')
    group.add_argument(
        '--configurations',
        nargs='+',
        choices=CONFIGURATIONS,
        default=list(CONFIGURATIONS),
        help='of either side (default: all)',
    )
    group.add_argument(
        '--steps',
        type=int,
        default=8,
        help='training steps in a round; a forward is done more often '
        '(default: 8)',
    )
    group.add_argument(
        '--at-once',
        type=int,
        help='processes that share the memory of the GPU; they take turns in '
        'computing (default: 4 that train, all of the forward)',
    )
    group.add_argument(
        '--limit',
        type=int,
        default=240,
        help='seconds for start and warm-up of a row (default: 240)',
    )


class WorkerError(RuntimeError):
    """A process failed, with the last line of what it said."""


class Process:
    """A process of gpu_worker.py.

    Args:
        side: 'rfdetr_mm' or 'rfdetr'.
        row: One of ``GPU_ROWS``.
        configuration: One that this side has for the row.
        batch_size: Images.
        options: More of the command line.
        log: File for what it prints.
    """

    def __init__(
        self,
        side: str,
        row: str,
        configuration: str,
        batch_size: int,
        options: Sequence[str],
        log: Path,
    ) -> None:
        self.side, self.row = side, row
        self.configuration, self.batch_size = configuration, batch_size
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        # All processes of a row compile at once.
        environment.setdefault('TORCHINDUCTOR_COMPILE_THREADS', '4')
        with log.open('w') as file:
            self._process = subprocess.Popen(
                [sys.executable, '-W', 'ignore', str(WORKER)]
                + [side, row, configuration, '--batch-size', str(batch_size)]
                + ['--warm-up', str(WARM_UP[row]), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=environment,
            )

    @property
    def name(self) -> str:
        """Of the configuration, for people."""
        return (
            f'{self.row}, batch {self.batch_size}, {self.side} '
            f'{self.configuration}'
        )

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


class GpuComparison:
    """The rows on a GPU.

    Args:
        args: The command line of compare_upstream.py.
        folder: Folder for temporary files.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.weights = folder / 'weights.pth'
        self.content: dict[str, Any] = dict(
            command=' '.join(sys.argv),
            machine={**machine(), **gpu(args.device)},
            matmul_peak=matmul_peak(args.device),
            parity=None,
            results=[],
            skipped={},
        )

    def check(self) -> None:
        """Write the weights and compare both sides' outputs.

        Raises:
            SystemExit: If they do not agree.
        """
        Upstream(self.args.variant).save(self.weights)
        found = parity(
            self.args.variant, self.weights, self.args.device, TOLERANCE
        )
        self.content['parity'] = dict(found, tolerance=TOLERANCE)
        say(
            f'{100 * found["share"]:.1f} % of the queries agree within '
            f'{TOLERANCE} (median difference {found["median"]:.2g})'
        )
        if found['share'] < AGREEING:
            stop('the sides differ: nothing is timed')
        gc.collect()
        if self.args.device == 'cuda':
            torch.cuda.empty_cache()

    def wanted(self, row: str) -> list[tuple[int, str, str]]:
        """Batch sizes, sides and configurations of a row.

        What is compared with each other is next to each other, so that few
        processes at once are enough.
        """
        table, sizes = FORWARD, FORWARD_BATCHES
        if row == 'train_step':
            table, sizes = TRAINING, (self.args.batch_size,)
        pairs = itertools.zip_longest(*(table[side] for side in SIDES))
        return [
            (size, side, name)
            for size, pair in itertools.product(sizes, pairs)
            for side, name in zip(SIDES, pair)
            if name in self.args.configurations
        ]

    def run(self) -> None:
        """All rows; the report is written after every step."""
        for row in GPU_ROWS:
            if row not in self.args.rows:
                continue
            chosen = self.wanted(row)
            count = self.args.at_once or AT_ONCE.get(row, 99)
            for first in range(0, len(chosen), count):
                self._wave(row, chosen[first : first + count])

    def _wave(self, row: str, chosen: Sequence[tuple[int, str, str]]) -> None:
        """Start some configurations together and time them in turn."""
        options = ['--variant', self.args.variant]
        options += ['--weights', str(self.weights)]
        options += ['--device', self.args.device]
        logs = self.args.out / 'logs'
        processes = []
        say(f'{row}: {len(chosen)} processes start')
        start = time.perf_counter()
        try:
            for size, side, name in chosen:
                log = logs / f'{row}-{size}-{side}-{name}.log'
                processes.append(Process(side, row, name, size, options, log))
            alive = []
            for process in processes:
                left = self.args.limit - (time.perf_counter() - start)
                found = self._try(process, limit=left)
                if found is not None:
                    say(f'{process.name}: ready, {_warm_up(found)}')
                    alive.append((process, found))
            say(f'{row}: {time.perf_counter() - start:.0f} s to warm up')
            self._rounds(row, alive)
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

    def _rounds(self, row: str, alive: Sequence[tuple[Process, dict]]) -> None:
        """Rounds of all, every second one in the opposite order."""
        works = [
            (process, result_of(process, work, found))
            for process, found in alive
            for work in found['works']
        ]
        for number in range(self.args.rounds):
            for process, result in works[:: -1 if number % 2 else 1]:
                size = process.batch_size if row == 'forward' else None
                times = self.args.steps * TIMES[row, size]
                found = self._try(process, f'run {result["work"]} {times}')
                if found is None:
                    continue
                if result not in self.content['results']:
                    self.content['results'].append(result)
                images = times * process.batch_size
                result['images_per_s'].append(images / found['seconds'])
            say(f'{row}: round {number + 1} of {self.args.rounds}')
            self.write()
        for process, result in works:
            self._finish(process, result)
        self.write()
        for one in comparisons(self.content['results']):
            say('{what}: {ours} / {theirs}: {ratio[median]:.3f}'.format(**one))

    def _finish(self, process: Process, result: dict[str, Any]) -> None:
        """Memory, and the arithmetic of the step without recomputation."""
        if process.row == 'train_step':
            result['memory'] = self._try(process, 'memory')
        plain = (process.side, process.configuration) == ('rfdetr', 'eager')
        if plain and result['work'] != 'fp32':
            found = self._try(process, f'flops {result["work"]}')
            result['flops'] = found and found['flops']

    def write(self) -> None:
        """Write compare.json and compare.md."""
        content = self.content
        write(self.args.out, 'compare', content, markdown(content))


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


def compare_on_gpu(args: argparse.Namespace) -> dict[str, Any]:
    """Measure on a GPU, write the report and return its content.

    Args:
        args: The command line of compare_upstream.py.

    Raises:
        SystemExit: If there is no GPU, or the sides do not agree.
    """
    if not torch.cuda.is_available():
        stop('--device cuda needs a GPU, and torch finds none')
    with tempfile.TemporaryDirectory() as folder:
        comparison = GpuComparison(args, Path(folder))
        comparison.check()
        comparison.run()
    print(markdown(comparison.content))
    print(f'Report in {args.out}')
    return comparison.content


def gpu(device: str) -> dict[str, Any]:
    """What the GPU is."""
    if device != 'cuda':
        return {}
    return dict(
        gpu=torch.cuda.get_device_name(),
        gpu_gib=torch.cuda.get_device_properties(0).total_memory / 2**30,
        cuda=torch.version.cuda,
    )
