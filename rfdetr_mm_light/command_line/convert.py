"""Convert checkpoints: rfdetr's to this package's, and back.

The direction is what SRC is not. Everything in the file is checked against
the model before anything is written.

Examples:
  rfdetr-mm convert rf-detr-nano.pth nano.pth
  rfdetr-mm convert mine/checkpoint_best_total.pth for_rfdetr.pth
  rfdetr-mm convert best.pth for_rfdetr.pth --config work_dirs/mine/mine.py
"""

import argparse

from rfdetr_mm_light.errors import UsageError

from .options import add_config_options


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument('src', help='checkpoint, or name of a published file')
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--model', metavar='SIZE', help='where the file does not say it'
    )
    parser.add_argument(
        '--config', help='config of the model, where it is none of the sizes'
    )
    add_config_options(parser, 'the file of --config')
    parser.add_argument(
        '--ema',
        action='store_true',
        help="take the averaged weights in a training checkpoint of rfdetr's",
    )
    parser.add_argument(
        '--force', action='store_true', help='replace an existing DST'
    )
    parser.add_argument(
        '--accept-platform-model-license',
        action='store_true',
        help='accept the licence PML-1.0 of xlarge and 2xlarge',
    )


def check(args: argparse.Namespace) -> None:
    """Check the options.

    Raises:
        UsageError: If options exclude each other, or need another one.
    """
    if args.model is not None and args.config is not None:
        raise UsageError('--model and --config exclude each other')
    if args.cfg_options and args.config is None:
        raise UsageError('--cfg-options change the file of --config: name it')
