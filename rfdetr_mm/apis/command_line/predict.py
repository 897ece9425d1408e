"""Run ``rfdetr-mm predict`` by a checkpoint.

Its options are in ``rfdetr_mm_light/command_line/predict.py``.
"""

import argparse

from rfdetr_runtime.command_line.predict import predict

from .options import load_model


def run(args: argparse.Namespace) -> None:
    """Detect, print, write.

    Raises:
        InputError: If model, images or classes cannot be used.
    """
    predict(args, load_model)
