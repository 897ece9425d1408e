"""Detect small objects in large images, slice by slice.

A model that sees a photograph of 4000 x 3000 pixels at 384 x 384 misses what
is small. Here it sees slices that overlap, at or near their own resolution;
their detections are merged, so that an object on a seam is found once. Options
as in mmdet's ``demo/large_image_demo.py``, which leaves the slices to sahi.

Examples:
    python demo/large_image_demo.py aerial.jpg rfdetr_nano_coco \
        --patch-size 384 --batch-size 8
    python demo/large_image_demo.py photos/ rfdetr-seg_nano_coco \
        --patch-size 600 800 --patch-overlap-ratio 0.3 --whole-image
"""

import argparse
from collections.abc import Sequence
from typing import Any

from image_demo import add_output_options, output_options, report
from model_options import (
    add_model_options,
    build_inferencer,
    errors_in_one_line,
)

from rfdetr_mm.apis import SlicedInferencer


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('inputs', help='image, address or folder of images')
    add_model_options(parser)
    add_output_options(parser)
    parser.add_argument(
        '--patch-size',
        type=int,
        nargs='+',
        default=[640],
        metavar='PX',
        help='side of the slices, or their height and width (default: 640)',
    )
    parser.add_argument(
        '--patch-overlap-ratio',
        type=float,
        default=0.25,
        help='share of a slice that its neighbour sees too (default: 0.25)',
    )
    parser.add_argument(
        '--merge-iou-thr',
        type=float,
        default=0.5,
        help='how well two slices must agree, where they overlap, to have '
        'seen one object (default: 0.5)',
    )
    parser.add_argument(
        '--whole-image',
        action='store_true',
        help='look at the whole image as well, for objects larger than slices',
    )
    args = parser.parse_args(argv)
    if len(args.patch_size) > 2:
        parser.error('--patch-size takes one number, or height and width')
    return args


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Detect, say where the results are, and return them."""
    args = parse_args(argv)
    with errors_in_one_line():
        inferencer = build_inferencer(
            args,
            SlicedInferencer,
            patch_size=(args.patch_size[0], args.patch_size[-1]),
            patch_overlap_ratio=args.patch_overlap_ratio,
            merge_iou_thr=args.merge_iou_thr,
            min_score=min(args.pred_score_thr, 0.05),
            with_whole_image=args.whole_image,
        )
        found = inferencer(args.inputs, **output_options(args))
    report(len(found['predictions']), args)
    return found['predictions']


if __name__ == '__main__':
    main()
