"""Measure how long a model takes on this machine.

Random pixels are detected on, again and again: predict() as a whole, from an
array to detections, and the network alone. The median and the tenth and
ninetieth percentile of the runs are given, in milliseconds for a batch.

Examples:
  rfdetr-mm benchmark --model nano
  rfdetr-mm benchmark --model nano --optimize torchscript --dtype float16
  rfdetr-mm benchmark --weights best.pth --batch-size 8 --runs 100 --json
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rfdetr_mm.apis.in_process import RawDetector

from .options import UsageError, add_model_options, load_model


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument(
        '--batch-size', type=int, default=1, metavar='N', help='default: 1'
    )
    parser.add_argument(
        '--image-size',
        type=int,
        nargs=2,
        default=(480, 640),
        metavar=('HEIGHT', 'WIDTH'),
        help='of the images in pixels (default: 480 640)',
    )
    parser.add_argument('--runs', type=int, default=30, help='default: 30')
    parser.add_argument(
        '--warm-up', type=int, default=3, help='runs before (default: 3)'
    )
    parser.add_argument(
        '--optimize',
        choices=('torchscript', 'inductor'),
        help='use optimize_for_inference()',
    )
    parser.add_argument(
        '--dtype',
        choices=('float32', 'float16', 'bfloat16'),
        default='float32',
        help='with --optimize (default: float32)',
    )
    parser.add_argument(
        '--json', action='store_true', help='print a JSON object instead'
    )
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        UsageError: If options exclude each other or cannot be.
        InputError: If the model cannot be loaded.
    """
    if min(args.batch_size, args.runs, *args.image_size) < 1:
        raise UsageError('--batch-size, --runs and --image-size are positive')
    if args.dtype != 'float32' and args.optimize is None:
        raise UsageError('--dtype needs --optimize')
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
        runs: How often.
        warm_up: How often before.

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
