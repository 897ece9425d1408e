"""Evaluate a model on a data set by COCO's metrics.

Classes are matched by name. Values are points, 0 to 100; a dash stands where
there is nothing to measure, such as no small objects.

Examples:
  rfdetr-mm val DATASET --weights mine/checkpoint_best_total.pth
  rfdetr-mm val DATASET --weights best.pth --split test --json metrics.json
"""

import argparse
from pathlib import Path

from .detection_files import write_json
from .options import add_model_options, given, load_model


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument('dataset_dir', metavar='DATASET', help='its folder')
    parser.add_argument(
        '--split',
        choices=('val', 'test'),
        default='val',
        help='default: val',
    )
    parser.add_argument('--batch-size', type=int, metavar='N')
    parser.add_argument('--num-workers', type=int, metavar='N')
    parser.add_argument('--output-dir', help='for logs (default: output)')
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='write the metrics, 0 to 1, -1 for a dash',
    )
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluate."""
    options = given(args, ('batch_size', 'num_workers', 'output_dir'))
    model = load_model(args)
    metrics = model.evaluate(
        args.split, dataset_dir=args.dataset_dir, **options
    )
    width = max(map(len, metrics))
    for name, value in metrics.items():
        # COCO's -1: the data set has no such objects.
        points = '-' if value == -1 else f'{100 * value:.2f}'
        print(f'{name:<{width}}  {points:>6}')
    if args.json is not None:
        write_json(metrics, args.json)
