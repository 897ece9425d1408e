"""Timing several works turn by turn, and what is said about the times.

A busy machine slows all works of a round alike, so ratios within a round say
more than times.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch

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
    """Median, smallest and largest value."""
    return dict(median=median(values), low=min(values), high=max(values))


def ratio(ours: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Ours over the other, round by round.

    Args:
        ours: Values of each round.
        other: Values of the same rounds.

    Returns:
        Median, smallest and largest of the rounds' ratios.
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
    model = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        lines = info.read_text().splitlines()
        names = [x for x in lines if x.startswith('model name')]
        model = names[0].split(':')[1].strip() if names else model
    return model


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else None
    return dict(
        cpu=cpu_name(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        load_before=load,
        python=platform.python_version(),
        packages=versions(PACKAGES),
    )


def onnx_session(
    file: Path, threads: int | None = None, **options: Any
) -> Any:
    """Open an ONNX file in ONNX Runtime on the CPU.

    Args:
        file: The file; it may be deleted afterwards.
        threads: How many, 0 for all cores; as many as torch has if None.
        **options: More of ONNX Runtime's ``SessionOptions``.

    Returns:
        The session.
    """
    import onnxruntime

    chosen = onnxruntime.SessionOptions()
    if threads is None:
        threads = torch.get_num_threads()
    chosen.intra_op_num_threads = threads
    for name, value in options.items():
        setattr(chosen, name, value)
    return onnxruntime.InferenceSession(
        file.read_bytes(), chosen, ['CPUExecutionProvider']
    )


def run_alone(arguments: Sequence[str]) -> str:
    """Run a Python program in a process of its own.

    Args:
        arguments: After the interpreter.

    Returns:
        The last line that it printed.

    Raises:
        RuntimeError: If it fails, with the end of what it complained about.
    """
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *arguments],
        capture_output=True,
        text=True,
        # Modules of a checkout are kept compiled, as installed ones are.
        env={**os.environ, 'PYTHONDONTWRITEBYTECODE': ''},
    )
    if done.returncode:
        raise RuntimeError(
            f'{arguments[0]} ended with {done.returncode}: '
            f'{done.stderr.strip()[-2000:]}'
        )
    return done.stdout.strip().splitlines()[-1]


def peak_mib() -> float:
    """Largest resident memory of this process so far (Linux), in MiB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmHWM:'):
            return int(line.split()[1]) / 1024
    raise RuntimeError('/proc/self/status has no VmHWM; this needs Linux')
