"""Run ``rfdetr-mm benchmark``: measure how long a model takes.

Its options are in ``rfdetr_mm_light/command_line/benchmark.py``.
"""

import argparse
from typing import Any

import numpy as np
import torch

from rfdetr_mm.apis.devices import device_name
from rfdetr_mm.apis.in_process import RawDetector
from rfdetr_runtime.command_line.benchmark import latency_ms, print_result

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
    print_result(result, args.json)


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
