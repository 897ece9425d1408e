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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from run_config import (  # noqa: E402  (puts this clone in front)
    add_cfg_options,
    merge_options,
)

# isort: split
from mmengine.config import Config  # noqa: E402

from rfdetr_mm.apis.conversion import to_rfdetr  # noqa: E402
from rfdetr_mm.checkpoints import (  # noqa: E402
    check_target,
    read_checkpoint,
    summarise,
    write_checkpoint,
)
from rfdetr_mm.errors import InputError  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('src', help='checkpoint of this package')
    parser.add_argument('dst', help='where to write the file for rfdetr')
    parser.add_argument(
        '--config', required=True, help='config of the model it is from'
    )
    parser.add_argument(
        '--force', action='store_true', help='replace an existing DST'
    )
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> int:
    """Convert, check, write, report."""
    args = parse_args()
    try:
        check_target(args.dst, args.force)
        config = Config.fromfile(args.config)
        merge_options(config, args.cfg_options or {})
        content = read_checkpoint(Path(args.src).expanduser())
        checkpoint, report = to_rfdetr(content, config)
        md5 = write_checkpoint(checkpoint, args.dst, args.force)
    except (InputError, OSError) as error:
        print(f'mmdet_to_rfdetr: {error}', file=sys.stderr)
        return 1
    print(summarise(report))
    print(f'every key and shape fits the model of {args.config}')
    print(f'wrote {args.dst} (MD5 {md5})')
    return 0


if __name__ == '__main__':
    sys.exit(main())
