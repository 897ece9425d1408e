"""Convert an rfdetr checkpoint for a config of this package.

Example:
    python tools/model_converters/rfdetr_to_mmdet.py \
        rfdetr://rf-detr-nano.pth work_dirs/rfdetr_nano_coco.pth \
        --config configs/rfdetr/rfdetr_nano_coco.py
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

from rfdetr_mm.apis.conversion import from_rfdetr  # noqa: E402
from rfdetr_mm.checkpoints import (  # noqa: E402
    check_target,
    file_md5,
    read_checkpoint,
    resolve_weights,
    summarise,
    write_checkpoint,
)
from rfdetr_mm.errors import InputError  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'src', help='rfdetr file: a path or rfdetr://NAME of a published one'
    )
    parser.add_argument('dst', help='where to write the converted file')
    parser.add_argument(
        '--config', required=True, help='config of the model it is for'
    )
    parser.add_argument(
        '--ema',
        action='store_true',
        help='take the averaged weights that a training checkpoint holds',
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
        is_name = args.src.startswith('rfdetr://')
        src = resolve_weights(args.src) if is_name else Path(args.src)
        src = src.expanduser()
        config = Config.fromfile(args.config)
        merge_options(config, args.cfg_options or {})
        checkpoint, report = from_rfdetr(
            read_checkpoint(src), config, args.ema
        )
        checkpoint['meta']['converted_from'].update(
            file=src.name, md5=file_md5(src)
        )
        md5 = write_checkpoint(checkpoint, args.dst, args.force)
    except (InputError, OSError) as error:
        print(f'rfdetr_to_mmdet: {error}', file=sys.stderr)
        return 1
    print(summarise(report))
    print(f'every key and shape fits the model of {args.config}')
    print(f'wrote {args.dst} (MD5 {md5})')
    return 0


if __name__ == '__main__':
    sys.exit(main())
