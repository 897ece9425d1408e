"""Evaluate a model on a data set by COCO's metrics.

Classes are matched by name. Values are points, 0 to 100; a dash stands where
there is nothing to measure, such as no small objects.

Examples:
  rfdetr-mm val DATASET --weights mine/checkpoint_best_total.pth
  rfdetr-mm val DATASET --weights best.pth --split test --json metrics.json
  rfdetr-mm val exported/rfdetr-nano.onnx DATASET
  rfdetr-mm val DATASET --weights new.pth --report new --against old
  rfdetr-mm val DATASET --weights best.pth --engine ray --address auto
"""

import argparse
from pathlib import Path

from rfdetr_mm_light.errors import UsageError
from rfdetr_mm_light.exported_files import is_exported

from .options import (
    add_config_options,
    add_engine,
    add_model_file,
    add_model_options,
    add_precision,
    check_data_set,
    check_engine,
    check_model_options,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    add_model_file(parser)
    parser.add_argument('dataset_dir', metavar='DATASET', help='its folder')
    parser.add_argument(
        '--split',
        choices=('val', 'test'),
        default='val',
        help='default: val',
    )
    parser.add_argument('--batch-size', type=int, metavar='N')
    parser.add_argument('--num-workers', type=int, metavar='N')
    parser.add_argument(
        '--output-dir', help='for logs (default: none are written)'
    )
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='write the metrics, 0 to 1, -1 for a dash',
    )
    parser.add_argument(
        '--report',
        type=Path,
        metavar='DIR',
        help='write a page of curves, tables and examples, and its numbers '
        'as JSON and CSV, into this folder',
    )
    parser.add_argument(
        '--against',
        type=Path,
        metavar='OTHER',
        help='folder of an earlier report, which the new one shows beside',
    )
    add_engine(parser)
    add_precision(parser)
    add_config_options(parser, 'the config of the evaluation')
    add_model_options(parser)


def check(args: argparse.Namespace) -> None:
    """Check what needs neither torch nor a network.

    Raises:
        UsageError: If no model was chosen, options exclude each other, or
            there is no report to show another one in.
        InputError: If a file or folder is missing.
    """
    check_model_options(args)
    check_engine(args)
    if args.against is not None and args.report is None:
        raise UsageError('--against needs --report DIR, which shows both')
    if args.cfg_options and is_exported(args.weights or ''):
        raise UsageError(
            '--cfg-options change the config of a checkpoint; the exported '
            f'file {args.weights} is as it is'
        )
    check_data_set(args.dataset_dir)
