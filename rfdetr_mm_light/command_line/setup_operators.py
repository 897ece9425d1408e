"""Make mmdet's own tools work with an mmcv that was not compiled.

It writes mmcv/_ext.py, which stands in for mmcv's compiled operators. What
imports rfdetr_mm, rfdetr-mm itself included, works without it.

Examples:
  rfdetr-mm setup-operators
  rfdetr-mm setup-operators --remove
"""

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument(
        '--remove',
        action='store_true',
        help='remove the file again; one that it did not write stays',
    )
