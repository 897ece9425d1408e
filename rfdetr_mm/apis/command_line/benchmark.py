"""Run ``rfdetr-mm benchmark``: measure how long a model takes.

Its options are in ``rfdetr_mm_light/command_line/benchmark.py``.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rfdetr_mm.apis.in_process import RawDetector

from .options import load_model


def run(args: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        InputError: If the model cannot be loaded.
    """
    model = load_model(args)
    if args.optimize is not None:
        model.optimize_for_inference(
            batch_size=args.batch_size,
            dtype=args.dtype,
            compile_backend=args.optimize,
        )
    result = dict(
        model=type(model).__name__,
        device=device_name(model.model.device),
        threads=torch.get_num_threads(),
        resolution=model.model.resolution,
        batch_size=args.batch_size,
        optimize=args.optimize,
        dtype=args.dtype,
        runs=args.runs,
        **_measured(model, args),
    )
    print(json.dumps(result) if args.json else _table(result))


def _measured(model: Any, args: argparse.Namespace) -> dict[str, Any]:
    context = model.model
    rng = np.random.default_rng(0)
    shape = (args.batch_size, *args.image_size, 3)
    images = list(rng.integers(0, 256, shape, dtype=np.uint8))
    side = context.resolution
    batch = torch.rand(args.batch_size, 3, side, side, device=context.device)
    optimized = context.inference_model
    if optimized is None:
        network = RawDetector(context.model.eval())
    else:
        network, batch = optimized.network, batch.to(optimized.dtype)

    @torch.no_grad()
    def forward() -> None:
        network(batch)
        if batch.is_cuda:
            torch.cuda.synchronize(batch.device)

    return dict(
        predict_ms=latency_ms(
            lambda: model.predict(images), args.runs, args.warm_up
        ),
        network_ms=latency_ms(forward, args.runs, args.warm_up),
    )


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


def device_name(device: torch.device) -> str:
    """Name of a device, with the model of a GPU."""
    if device.type == 'cuda':
        return f'{device}, {torch.cuda.get_device_name(device)}'
    return str(device)


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
