"""Run ``rfdetr-mm export``: write a model for another runtime.

Its options are in ``rfdetr_mm_light/command_line/export.py``.
"""

import argparse

from rfdetr_mm.engine.console import FULL, QUIET, console

from .early_checks import check_export
from .options import given, load_model


def run(args: argparse.Namespace) -> None:
    """Export.

    Raises:
        InputError: If an argument, the device, the folder for results or the
            weights cannot be used; checked in this order.
    """
    options = given(
        args,
        (
            'batch_size',
            'dynamic_batch',
            'backbone_only',
            'opset_version',
            'quantization',
            'calibration_data',
            'max_images',
            'layout',
            'inference_precision',
            'notes',
            'output_name',
        ),
    )
    if args.shape is not None:
        options['shape'] = tuple(args.shape)
    options['format'] = args.format
    with console(FULL if args.verbose else QUIET):
        check_export(args, options)
        path = load_model(args).export(
            args.output_dir, verbose=args.verbose, **options
        )
    print(f'wrote {path}')
