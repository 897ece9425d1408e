"""Detect objects in images.

Prints a line for each image. With --out-dir, writes what --save names:
  images   OUT_DIR/images/NAME, painted
  json     OUT_DIR/predictions.json: boxes in pixels, classes, scores, masks
  coco     OUT_DIR/coco.json: a COCO data set, its annotations with scores

With --engine ray, for any number of images on one machine or many, inputs are
patterns, lists of paths (.txt, .parquet), Parquet files with images and tar
files as well, here or at addresses such as s3://bucket/photos. Each image gets
one row in the Parquet files of --out, also one that cannot be read. The same
command after an interruption goes on where it was.

Examples:
  rfdetr-mm predict street.jpg --model nano
  rfdetr-mm predict photos/ --model seg-small --threshold 0.4 --out-dir found
  rfdetr-mm predict *.png --weights best.pth --out-dir found --save coco
  rfdetr-mm predict street.jpg --model nano --classes person car --json
  rfdetr-mm predict exported/rfdetr-nano.onnx street.jpg
  rfdetr-mm predict 'photos/**/*.jpg' --model nano --engine ray --out found
  rfdetr-mm predict s3://bucket/*.tar --model nano --engine ray --out found
"""

import argparse
from pathlib import Path

from rfdetr_mm_light.errors import InputError, UsageError

from ..scores import SCORE_THRESHOLD
from .options import (
    add_engine,
    add_model_options,
    add_precision,
    check_engine,
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
    parser.add_argument(
        '--out-dir', '--out', type=Path, help='folder for results'
    )
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
    add_engine(parser)
    parser.add_argument(
        '--to-coco',
        action='store_true',
        help='with --engine ray: write OUT/coco.json, too',
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
    check_engine(args)
    if args.engine == 'ray':
        if args.save or args.json:
            raise UsageError(
                '--save and --json are for one process; --engine ray writes '
                'Parquet files, and with --to-coco a COCO file'
            )
        if args.out_dir is None:
            raise UsageError('--engine ray needs --out DIR')
        return
    if args.to_coco:
        raise UsageError(
            '--to-coco is for --engine ray; --save coco writes a COCO file'
        )
    for name in args.inputs:
        if not name or ('://' not in name and not Path(name).exists()):
            shown = name or '(an empty path)'
            raise InputError(f'there is no image or folder {shown}')
