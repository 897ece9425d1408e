"""Timing several works turn by turn, and what is said about the times.

A busy machine slows all works of a round alike, so ratios within a round say
more than times.
"""

import inspect
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import clone  # first: this clone's package and tools
import torch

from rfdetr_mm_light.stack import version_of

PACKAGES = (
    'torch',
    'onedl-mmengine',
    'onedl-mmdetection',
    'mmengine',
    'mmdet',
    'onnxruntime',
    'rfdetr',
    'pytorch_lightning',
    'vernier',
)
HERE = Path(__file__).resolve().parent
# Sides of the square matrices that show the machine's limit.
PEAK_SIDE = 2048
GPU_PEAK_SIDE = 8192


def paired_rounds(
    works: Mapping[str, Callable[[], Any]],
    rounds: int,
    progress: Callable[[str], None] = print,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Do all works once, untimed, and then in every round once.

    Every second round takes them in the opposite order, so that none always
    follows the same other one.

    Args:
        works: What to do, by name.
        rounds: How many rounds are measured.
        progress: Called after every round.
        clock: Gives the time in seconds.

    Returns:
        Seconds of each round, by name.

    Raises:
        ValueError: If there is no round.
    """
    if rounds < 1:
        raise ValueError(f'rounds must be at least 1, got {rounds}')
    for name, work in works.items():
        progress(f'warming up: {name}')
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        names = list(works)
        for name in names if number % 2 == 0 else names[::-1]:
            start = clock()
            works[name]()
            seconds[name].append(clock() - start)
        progress(f'round {number + 1} of {rounds}')
    return seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest value, and both quartiles."""
    lower, _, upper = (
        quantiles(values, method='inclusive')
        if len(values) > 1
        else 3 * values
    )
    return dict(
        median=median(values),
        low=min(values),
        high=max(values),
        lower_quartile=lower,
        upper_quartile=upper,
    )


def ratio(ours: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Ours over the other, round by round.

    Args:
        ours: Values of each round.
        other: Values of the same rounds.

    Returns:
        What :func:`spread` gives, of the rounds' ratios.
    """
    return spread([mine / its for mine, its in zip(ours, other, strict=True)])


def matmul_peak(device: str = 'cpu') -> float:
    """The fastest matrix product, in multiply-adds * 2 per second.

    Args:
        device: The device; the products are of bfloat16 on 'cuda', else of
            float32.
    """
    is_cuda = device == 'cuda'
    side, dtype = PEAK_SIDE, torch.float32
    if is_cuda:
        side, dtype = GPU_PEAK_SIDE, torch.bfloat16
    a, b = torch.rand(2, side, side, device=device, dtype=dtype)
    times = 5 if is_cuda else 1
    best = float('inf')
    for _ in range(10):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(times):
            a @ b
        synchronize(device)
        best = min(best, (time.perf_counter() - start) / times)
    return 2 * side**3 / best


def synchronize(device: str) -> None:
    """Wait for a GPU."""
    if device == 'cuda':
        torch.cuda.synchronize()


def say(line: str) -> None:
    """Tell the progress, beside the results on standard output."""
    print(line, file=sys.stderr, flush=True)


def cpu_name() -> str:
    """What this machine's processor is called."""
    info = Path('/proc/cpuinfo')
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith('model name'):
            return line.split(':')[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else None
    return dict(
        cpu=cpu_name(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        load_before=load,
        python=platform.python_version(),
        packages={
            name: found for name in PACKAGES if (found := version_of(name))
        },
    )


def run_alone(arguments: Sequence[str]) -> str:
    """Run a Python program in a process of its own.

    Args:
        arguments: After the interpreter.

    Returns:
        The last line that it printed, if any.

    Raises:
        RuntimeError: If it fails, with the end of what it complained about.
    """
    paths = (str(clone.ROOT), os.environ.get('PYTHONPATH', ''))
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *arguments],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            'PYTHONPATH': os.pathsep.join(filter(None, paths)),
            # Modules of a checkout are kept compiled, as installed ones are.
            'PYTHONDONTWRITEBYTECODE': '',
        },
    )
    if done.returncode:
        raise RuntimeError(
            f'{arguments[0]} ended with {done.returncode}: '
            f'{done.stderr.strip()[-2000:]}'
        )
    return ['', *done.stdout.strip().splitlines()][-1]


def call_alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module here in a process of its own.

    Args:
        function: It gives what JSON can hold.
        *arguments: Plain values.

    Returns:
        What the function gave.

    Raises:
        RuntimeError: If it fails, see :func:`run_alone`.
    """
    # A script's own functions are of the module '__main__' here only.
    module = inspect.getmodulename(inspect.getfile(function))
    lines = (
        f'import json, sys; sys.path.insert(0, {str(HERE)!r})',
        f'import {module}',
        f'print(json.dumps({module}.{function.__name__}(*{arguments!r})))',
    )
    return json.loads(run_alone(['-c', '\n'.join(lines)]))


def peak_mib() -> float:
    """Largest resident memory of this process so far (Linux), in MiB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmHWM:'):
            return int(line.split()[1]) / 1024
    raise RuntimeError('/proc/self/status has no VmHWM; this needs Linux')
