"""Look at a data set by the rules of training, without training.

DATASET is a folder that train takes, its data.yaml, or one COCO annotation
file. Shown are images and boxes for each class and split, what training would
leave out and why, images that are missing, turned, copied from one split into
another or not listed, and boxes that are worth a look.

Exit code 0: nothing that training, validation or testing would refuse; 1:
there is, or with --strict there are warnings.

Examples:
  rfdetr-mm check DATASET
  rfdetr-mm check DATASET --strict --out-dir checked
  rfdetr-mm check boxes.json --images photos --json
"""

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument(
        'dataset', metavar='DATASET', help='its folder, or one of its files'
    )
    parser.add_argument(
        '--images',
        metavar='DIR',
        help='of a single COCO file: the folder that file_name counts from',
    )
    parser.add_argument(
        '--layout',
        default='auto',
        help='roboflow, coco, flat or yolo, where a folder fits several',
    )
    parser.add_argument(
        '--masks',
        action='store_true',
        help='for a segmentation model: objects need masks',
    )
    parser.add_argument(
        '--crowd-as-object',
        action='store_true',
        help='as in training with this option: iscrowd is not looked at',
    )
    parser.add_argument(
        '--decode',
        action='store_true',
        help='decode every image, which finds those that are cut off',
    )
    parser.add_argument(
        '--strict', action='store_true', help='exit code 1 for warnings, too'
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        metavar='DIR',
        help='write report.json and suspects.jpg, a sheet of images and boxes '
        'that are worth a look',
    )
    parser.add_argument(
        '--json', action='store_true', help='print a JSON object instead'
    )
