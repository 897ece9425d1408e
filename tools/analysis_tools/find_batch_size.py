"""Find the batch size that fits: ``find_batch_size.py CONFIG``.

Prints a table and the options to train with.
:mod:`rfdetr_mm.engine.batch_size` tells how it is found.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from run_config import (  # noqa: E402  (puts this clone in front)
    add_cfg_options,
    input_errors_in_one_line,
    read_config,
    stop,
)

# isort: split
from mmengine.config import Config  # noqa: E402

from rfdetr_mm.engine.batch_size import (  # noqa: E402
    NUM_OBJECTS,
    propose_batch_size,
)
from rfdetr_mm.sizes.config_facts import largest_training_size  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Propose batch size and gradient accumulation'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--target',
        type=int,
        help='images per step of the optimizer, all GPUs together (default: '
        'auto_scale_lr.base_batch_size of the config, else 16)',
    )
    parser.add_argument(
        '--num-gpus', type=int, default=1, help='that train (default: 1)'
    )
    parser.add_argument(
        '--memory-gib',
        type=float,
        help='memory that a process may take, in GiB (default: 90 %% of the '
        "GPU's free memory, without a GPU of the available main memory)",
    )
    parser.add_argument(
        '--num-objects',
        type=int,
        default=NUM_OBJECTS,
        help='objects in every image (default: %(default)s)',
    )
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    for name in ('target', 'num_gpus', 'num_objects', 'memory_gib'):
        value = getattr(args, name)
        if value is not None and value <= 0:
            option = '--' + name.replace('_', '-')
            stop(f'{option} must be positive, got {value}')
    return args


def print_row(size: int, result: dict[str, Any]) -> None:
    """Print one row of the table.

    Args:
        size: Images per batch.
        result: What the probe found.
    """
    row = f'{size:6d} '
    if result['fits']:
        row += f'{result["peak_gib"]:9.2f} {result["seconds"]:12.3f}'
    else:
        row += f'{"more than " + result.get("limit", "there is"):>22}'
    print(row, flush=True)


def main(argv: Sequence[str] | None = None) -> str:
    """Print a table and the options to train with, and return these."""
    args = parse_args(argv)
    with input_errors_in_one_line(args.verbose):
        cfg = read_config(args)
        base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
        target = args.target or base or 16
        if target % args.num_gpus:
            stop(
                f'{target} images per step cannot be shared by '
                f'{args.num_gpus} GPUs; give a multiple of them by --target'
            )
        height, width = largest_training_size(cfg)
        print(f'{height} x {width} px, {args.num_objects} objects per image')
        print(f'{"batch":>6} {"peak GiB":>9} {"s per batch":>12}')
        batch_size, count = propose_batch_size(
            cfg,
            target // args.num_gpus,
            print_row,
            args.num_objects,
            args.memory_gib,
        )
    options = [
        f'train_dataloader.batch_size={batch_size}',
        f'optim_wrapper.accumulative_counts={count}',
        *_multi_scale_options(cfg, count),
    ]
    line = '--cfg-options ' + ' '.join(options)
    print(
        f'{target} images per step = {batch_size} per batch x {count} '
        f'accumulated x {args.num_gpus} GPU or CPU process:\n{line}'
    )
    return line


def _multi_scale_options(cfg: Config, count: int) -> list[str]:
    """One image size per step of the optimizer, as upstream has it."""
    augments = cfg.model.data_preprocessor.get('batch_augments') or []
    return [
        f'model.data_preprocessor.batch_augments.{number}.interval={count}'
        for number, augment in enumerate(augments)
        if augment.type == 'BatchMultiScaleResize'
    ]


if __name__ == '__main__':
    main()
