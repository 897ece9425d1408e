"""Detect in images: ``python demo/image_demo.py IMAGE rfdetr_nano_coco``.

The options are those of mmdet's ``demo/image_demo.py``. Pictures are written
to ``OUT_DIR/vis``, what was found to ``OUT_DIR/preds``, one JSON file for each
image.

Examples:
    python demo/image_demo.py street.jpg rfdetr_nano_coco
    python demo/image_demo.py photos/ work_dirs/mine/mine.py \
        --weights work_dirs/mine/best.pth --batch-size 4 --out-dir found
"""

import argparse
from collections.abc import Sequence
from typing import Any

from model_options import (
    add_model_options,
    build_inferencer,
    errors_in_one_line,
)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add mmdet's options of what is written and shown."""
    parser.add_argument(
        '--out-dir',
        default='outputs',
        help='folder for pictures and predictions (default: outputs)',
    )
    parser.add_argument(
        '--show', action='store_true', help='show the pictures in a window'
    )
    parser.add_argument(
        '--no-save-vis', action='store_true', help='write no pictures'
    )
    parser.add_argument(
        '--no-save-pred', action='store_true', help='write no predictions'
    )
    parser.add_argument(
        '--print-result', action='store_true', help='print the predictions'
    )


def output_options(args: argparse.Namespace) -> dict[str, Any]:
    """The parsed ones, as arguments of an inferencer's call."""
    out_dir = args.out_dir
    if args.no_save_vis and args.no_save_pred:
        out_dir = ''
    return dict(
        out_dir=out_dir,
        show=args.show,
        no_save_vis=args.no_save_vis,
        no_save_pred=args.no_save_pred,
        print_result=args.print_result,
        pred_score_thr=args.pred_score_thr,
        batch_size=args.batch_size,
    )


def report(num_images: int, args: argparse.Namespace) -> None:
    """Say what was done and where it is."""
    written = [
        name
        for name, is_off in (
            (f'pictures in {args.out_dir}/vis', args.no_save_vis),
            (f'predictions in {args.out_dir}/preds', args.no_save_pred),
        )
        if not is_off
    ]
    print(', '.join([f'{num_images} images', *written]))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('inputs', help='image, address or folder of images')
    add_model_options(parser)
    add_output_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Detect, say where the results are, and return them."""
    args = parse_args(argv)
    with errors_in_one_line():
        inferencer = build_inferencer(args)
        found = inferencer(args.inputs, **output_options(args))
    report(len(found['predictions']), args)
    return found['predictions']


if __name__ == '__main__':
    main()
