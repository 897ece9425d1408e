"""Convert a checkpoint of this package to one that rfdetr loads.

Example:
    python tools/model_converters/mmdet_to_rfdetr.py \
        work_dirs/rfdetr_nano_coco/epoch_100.pth nano.pth \
        --config configs/rfdetr/rfdetr_nano_coco.py

    python -c "from rfdetr import RFDETR; RFDETR.from_checkpoint('nano.pth')"
"""

import argparse
import sys
from pathlib import Path

from converter import command_line, run

# isort: split
from mmengine.config import Config

from rfdetr_mm.apis.conversion import to_rfdetr
from rfdetr_mm.checkpoints import read_checkpoint


def convert(args: argparse.Namespace, config: Config) -> tuple:
    """Read the file and convert it."""
    return to_rfdetr(read_checkpoint(Path(args.src).expanduser()), config)


def main() -> int:
    """Convert, check, write and report."""
    parser = command_line(
        __doc__.splitlines()[0],
        src='checkpoint of this package',
        dst='where to write the file for rfdetr',
        config='config of the model it is from',
    )
    return run('mmdet_to_rfdetr', parser.parse_args(), convert)


if __name__ == '__main__':
    sys.exit(main())
