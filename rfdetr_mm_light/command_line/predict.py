"""Detect objects in images.

Prints a line for each image. With --out-dir, writes what --save names:
  images   OUT_DIR/images/NAME, painted
  json     OUT_DIR/predictions.json: boxes in pixels, classes, scores, masks
  coco     OUT_DIR/coco.json: a COCO data set, its annotations with scores

Examples:
  rfdetr-mm predict street.jpg --model nano
  rfdetr-mm predict photos/ --model seg-small --threshold 0.4 --out-dir found
  rfdetr-mm predict *.png --weights best.pth --out-dir found --save coco
  rfdetr-mm predict street.jpg --model nano --classes person car --json
  rfdetr-mm predict exported/rfdetr-nano.onnx street.jpg
"""

import argparse
from pathlib import Path

from rfdetr_mm_light.errors import InputError, UsageError

from ..scores import SCORE_THRESHOLD
from .options import (
    add_model_options,
    add_precision,
    check_model_options,
    score,
    take_file,
)

OUTPUTS = ('images', 'json', 'coco')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument(
        'inputs',
        nargs='+',
        help='images, folders of images, web addresses; an exported file '
        'among them is the model',
    )
    parser.add_argument(
        '--threshold',
        type=score,
        default=SCORE_THRESHOLD,
        help='only detections with a higher score, 0 to 1 '
        f'(default: {SCORE_THRESHOLD})',
    )
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME', help='only these classes'
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        metavar='N',
        help='images that the model sees at a time (default: 1)',
    )
    parser.add_argument('--out-dir', type=Path, help='folder for results')
    parser.add_argument(
        '--save',
        nargs='+',
        choices=OUTPUTS,
        help='what is written to --out-dir (default: images json)',
    )
    parser.add_argument(
        '--json',
        action='store_true',
        help='print one JSON object for each image, nothing else',
    )
    add_precision(parser)
    add_model_options(parser)


def check(args: argparse.Namespace) -> None:
    """Check what needs neither torch nor a model.

    Raises:
        UsageError: If options exclude each other or a value is out of range.
        InputError: If an image or a folder does not exist.
    """
    if args.save and args.out_dir is None:
        raise UsageError('--save needs --out-dir')
    if args.batch_size < 1:
        raise UsageError('--batch-size is 1 at least')
    args.inputs = take_file(args, args.inputs)
    if not args.inputs:
        raise UsageError('name an image as well')
    check_model_options(args)
    for name in args.inputs:
        if not name or ('://' not in name and not Path(name).exists()):
            shown = name or '(an empty path)'
            raise InputError(f'there is no image or folder {shown}')
