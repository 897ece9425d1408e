r"""Make training, validation and test sets from one COCO annotation file.

Each class has about the same share of its boxes in each part; images of a
group are kept together. The same file, shares and seed give the same parts.
OUT is a data set in Roboflow's layout, for rfdetr-mm train OUT; its images are
hard links where that is possible.

Examples:
  rfdetr-mm split boxes.json --out DATASET
  rfdetr-mm split boxes.json --images photos --out DATASET --parts 0.9 0.1
  rfdetr-mm split boxes.json --out DATASET --group-by 'patient_(\d+)'
"""

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument(
        'annotations', metavar='ANNOTATIONS', help='a COCO annotation file'
    )
    parser.add_argument(
        '--out',
        required=True,
        metavar='DIR',
        help='the new data set; it must be empty, or not there',
    )
    parser.add_argument(
        '--parts',
        type=float,
        nargs='+',
        default=[0.8, 0.1, 0.1],
        metavar='SHARE',
        help='of training, validation and, if there are three, test; default: '
        '0.8 0.1 0.1',
    )
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument(
        '--group-by',
        metavar='REGEX_OR_FILE',
        help='keep images together whose file names agree in what the '
        'expression, or its first parentheses, match; or a CSV file of '
        'file_name,group',
    )
    parser.add_argument(
        '--images',
        metavar='DIR',
        help='the folder that file_name counts from, if it is not found',
    )
    parser.add_argument(
        '--copy', action='store_true', help='copy images, do not link them'
    )
