"""Run ``rfdetr-mm predict`` by a checkpoint.

Its options are in ``rfdetr_mm_light/command_line/predict.py``.
"""

import argparse

from rfdetr_runtime.command_line.on_ray import run_on_ray
from rfdetr_runtime.command_line.predict import predict

from .options import checkpoint_loader, load_model


def run(args: argparse.Namespace) -> None:
    """Detect, print, write.

    Raises:
        InputError: If model, images or classes cannot be used.
    """
    if args.engine == 'ray':
        run_on_ray(args, checkpoint_loader(args))
        return
    predict(args, load_model)
