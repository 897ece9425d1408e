"""Convert an rfdetr checkpoint for a config of this package.

Example:
    python tools/model_converters/rfdetr_to_mmdet.py \
        rfdetr://rf-detr-nano.pth work_dirs/rfdetr_nano_coco.pth \
        --config configs/rfdetr/rfdetr_nano_coco.py

    python tools/model_converters/rfdetr_to_mmdet.py \
        FOLDER_OF_TRANSFORMERS work_dirs/from_transformers.pth \
        --config configs/rfdetr/rfdetr_nano_custom.py
"""

import argparse
import sys
from pathlib import Path

from converter import command_line, run

# isort: split
from mmengine.config import Config

from rfdetr_mm.apis.conversion import from_rfdetr
from rfdetr_mm.checkpoints import (
    file_md5,
    read_checkpoint,
    resolve_weights,
    transformers_file,
)


def convert(args: argparse.Namespace, config: Config) -> tuple:
    """Read the file, convert it and note where it is from."""
    is_name = args.src.startswith('rfdetr://')
    src = resolve_weights(args.src) if is_name else Path(args.src)
    src = transformers_file(src.expanduser())
    checkpoint, report = from_rfdetr(read_checkpoint(src), config, args.ema)
    origin = dict(file=src.name, md5=file_md5(src))
    checkpoint['meta']['converted_from'].update(origin)
    return checkpoint, report


def main() -> int:
    """Convert, check, write and report."""
    parser = command_line(
        __doc__.splitlines()[0],
        src='rfdetr file: a path or rfdetr://NAME of a published one; or a '
        'folder of an RF-DETR model of transformers',
        dst='where to write the converted file',
        config='config of the model it is for',
    )
    parser.add_argument(
        '--ema',
        action='store_true',
        help='take the averaged weights that a training checkpoint holds',
    )
    return run('rfdetr_to_mmdet', parser.parse_args(), convert)


if __name__ == '__main__':
    sys.exit(main())
