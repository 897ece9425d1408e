"""Measure how long a model takes on this machine.

Random pixels are detected on, again and again: predict() as a whole, from an
array to detections, and the network alone. The median and the tenth and
ninetieth percentile of the runs are given, in milliseconds for a batch.

Examples:
  rfdetr-mm benchmark --model nano
  rfdetr-mm benchmark --model nano --optimize torchscript --dtype float16
  rfdetr-mm benchmark --weights best.pth --batch-size 8 --runs 100 --json
  rfdetr-mm benchmark exported/rfdetr-nano.onnx
"""

import argparse

from rfdetr_mm_light.errors import UsageError

from .options import (
    add_model_file,
    add_model_options,
    add_precision,
    check_model_options,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    add_model_file(parser)
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
    add_precision(parser)
    add_model_options(parser)


def check(args: argparse.Namespace) -> None:
    """Check the options.

    Raises:
        UsageError: If options exclude each other or a value is out of range.
        InputError: If the weights are missing.
    """
    if min(args.batch_size, args.runs, *args.image_size) < 1:
        raise UsageError('--batch-size, --runs and --image-size are positive')
    if args.dtype != 'float32' and args.optimize is None:
        raise UsageError('--dtype needs --optimize')
    check_model_options(args)
