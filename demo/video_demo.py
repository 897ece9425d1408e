"""Detect in a video: ``python demo/video_demo.py VIDEO rfdetr_nano_coco``.

Paints what is found into every frame and writes a video, or a folder of frames
if the name that is given has no suffix. VIDEO is a file, the address of a file
or a stream, or the number of a camera; Ctrl-C ends it, and what was written is
complete.

Examples:
    python demo/video_demo.py street.mp4 rfdetr_nano_coco --out found.mp4
    python demo/video_demo.py street.mp4 work_dirs/mine/mine.py \
        --weights work_dirs/mine/best.pth --batch-size 8 --out frames
    python demo/video_demo.py 0 rfdetr_nano_coco --max-frames 300
    python demo/video_demo.py rtsp://camera.local/stream rfdetr_nano_coco
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
    parser.add_argument(
        'video', help='video file, address of a file or stream, or camera 0'
    )
    add_model_options(parser)
    parser.add_argument(
        '--out',
        help='video to write, or a folder for frames (default: '
        'outputs/NAME.mp4)',
    )
    parser.add_argument(
        '--max-frames', type=int, help='stop after so many frames'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Detect, say where the result is, and return the number of frames."""
    args = parse_args(argv)
    name = f'camera_{args.video}' if args.video.isdigit() else args.video
    out = args.out or f'outputs/{Path(name).stem}.mp4'
    with errors_in_one_line():
        number = annotate_video(
            build_inferencer(args),
            args.video,
            out,
            args.pred_score_thr,
            args.batch_size,
            args.max_frames,
        )
    print(f'{number} frames, painted in {out}')
    return number


if __name__ == '__main__':
    main()
