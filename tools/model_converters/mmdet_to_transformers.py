"""Convert a checkpoint of this package to a folder for transformers.

The other way is ``rfdetr_to_mmdet.py FOLDER``.

Example:
    python tools/model_converters/mmdet_to_transformers.py \
        work_dirs/rfdetr_nano_coco/epoch_100.pth for_transformers \
        --config configs/rfdetr/rfdetr_nano_coco.py

    python -c "from transformers import pipeline; \
        print(pipeline('object-detection', 'for_transformers')('street.jpg'))"
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

from rfdetr_mm.apis.transformers_folder import (  # noqa: E402
    write_transformers,
)
from rfdetr_mm.checkpoints import read_checkpoint, summarise  # noqa: E402
from rfdetr_mm.errors import InputError  # noqa: E402


def main() -> int:
    """Convert, write and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('src', help='checkpoint of this package')
    parser.add_argument('dst', help='folder to write, new or empty')
    parser.add_argument(
        '--config', required=True, help='config of the model it is from'
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    try:
        config = Config.fromfile(args.config)
        merge_options(config, args.cfg_options or {})
        content = read_checkpoint(Path(args.src).expanduser())
        report = write_transformers(content, config, args.dst)
    except (InputError, OSError) as error:
        print(f'mmdet_to_transformers: {error}', file=sys.stderr)
        return 1
    print(summarise(report))
    print(f'wrote {args.dst}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
