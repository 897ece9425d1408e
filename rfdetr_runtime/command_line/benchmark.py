"""Run ``rfdetr-mm benchmark``: measure how long an exported file takes.

Its options are in ``rfdetr_mm_light/command_line/benchmark.py``.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rfdetr_mm_light.errors import UsageError

from ..sessions.session import num_cpus
from .options import load_file


def run(args: argparse.Namespace) -> None:
    """Measure and print.

    Args:
        args: The parsed options.

    Raises:
        InputError: If the file cannot be used, or takes other batches.
        UsageError: For an option that is for checkpoints.
    """
    if args.optimize is not None:
        raise UsageError('--optimize is for checkpoints, not exported files')
    model = load_file(args)
    rng = np.random.default_rng(0)
    shape = (args.batch_size, *args.image_size, 3)
    images = list(rng.integers(0, 256, shape, dtype=np.uint8))
    size = args.batch_size
    prepared = np.stack([model.prepare(image) for image in images])
    result = dict(
        model=Path(model.file).name,
        device=args.device or 'cpu',
        threads=num_cpus(),
        resolution='x'.join(map(str, model.input_hw)),
        batch_size=size,
        optimize=None,
        dtype=model.facts.precision,
        runs=args.runs,
        predict_ms=latency_ms(
            lambda: model.predict(images, batch_size=size),
            args.runs,
            args.warm_up,
        ),
        network_ms=latency_ms(
            lambda: model.run(prepared), args.runs, args.warm_up
        ),
    )
    print_result(result, args.json)


def latency_ms(
    work: Callable[[], Any], runs: int, warm_up: int
) -> dict[str, float]:
    """Time a piece of work.

    Args:
        work: What is timed; it returns when it is done.
        runs: How many runs are timed.
        warm_up: How many runs come before, without a clock.

    Returns:
        ``median``, ``p10``, ``p90`` and ``min`` in milliseconds.
    """
    times = []
    for number in range(warm_up + runs):
        start = time.perf_counter()
        work()
        if number >= warm_up:
            times.append(1000 * (time.perf_counter() - start))
    p10, median, p90 = np.percentile(times, (10, 50, 90))
    return {
        name: round(float(value), 3)
        for name, value in (
            ('median', median),
            ('p10', p10),
            ('p90', p90),
            ('min', min(times)),
        )
    }


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """Print what was measured.

    Args:
        result: The model, the circumstances, and ``predict_ms`` and
            ``network_ms``, results of :func:`latency_ms`.
        as_json: Whether to print a JSON object instead of a table.
    """
    print(json.dumps(result) if as_json else _table(result))


def _table(result: dict[str, Any]) -> str:
    count = result['batch_size']
    lines = [
        f'{result["model"]}, {result["resolution"]} px, batch {count}, '
        f'{result["dtype"]}, {result["optimize"] or "not optimised"}, on '
        f'{result["device"]}, {result["threads"]} threads, '
        f'{result["runs"]} runs',
        '             median      p10      p90   images/s',
    ]
    for name in ('predict', 'network'):
        times = result[f'{name}_ms']
        rate = 1000 * count / times['median']
        lines.append(
            f'{name:<8} {times["median"]:7.1f} ms {times["p10"]:8.1f} '
            f'{times["p90"]:8.1f} {rate:10.1f}'
        )
    return '\n'.join(lines)
