"""Detect in a video: ``python demo/video_demo.py VIDEO rfdetr_nano_coco``.

Paints what is found into every frame and writes a video, or a folder of frames
if the name that is given has no suffix.

Examples:
    python demo/video_demo.py street.mp4 rfdetr_nano_coco --out found.mp4
    python demo/video_demo.py street.mp4 work_dirs/mine/mine.py \
        --weights work_dirs/mine/best.pth --batch-size 8 --out frames
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from model_options import (
    add_model_options,
    build_inferencer,
    errors_in_one_line,
)

from rfdetr_mm.apis.video import annotate_video


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('video', help='video file or address')
    add_model_options(parser)
    parser.add_argument(
        '--out',
        help='video to write, or a folder for frames (default: '
        'outputs/NAME.mp4)',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Detect, say where the result is, and return the number of frames."""
    args = parse_args(argv)
    out = args.out or f'outputs/{Path(args.video).stem}.mp4'
    with errors_in_one_line():
        number = annotate_video(
            build_inferencer(args),
            args.video,
            out,
            args.pred_score_thr,
            args.batch_size,
        )
    print(f'{number} frames, painted in {out}')
    return number


if __name__ == '__main__':
    main()
