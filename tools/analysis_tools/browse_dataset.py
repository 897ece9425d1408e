"""Show what the model is fed: ``browse_dataset.py CONFIG --out grid.png``.

One picture with a grid of images as they leave the pipeline of the config,
augmented and resized, with boxes, class names and, if there are any, masks.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from run_config import (  # noqa: E402  (puts this clone in front)
    add_cfg_options,
    input_errors_in_one_line,
    read_config,
    stop,
)

# isort: split
from mmdet.utils import register_all_modules  # noqa: E402

from rfdetr_mm.apis.dataset_grids import (  # noqa: E402
    draw_samples,
    write_grid,
)
from rfdetr_mm.datasets import resolve_own_data  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Draw images as the pipeline makes them, with their boxes'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('grid.png'),
        help='picture to write (default: grid.png)',
    )
    parser.add_argument(
        '--num', type=int, default=16, help='how many images (default: 16)'
    )
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default='train',
        help='whose images and pipeline (default: train)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='of the choice and the augmentations (default: 0)',
    )
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.num < 1:
        stop(f'--num must be at least 1, got {args.num}')
    return args


def main(argv: Sequence[str] | None = None) -> Path:
    """Write the grid and return the path of the picture."""
    args = parse_args(argv)
    register_all_modules(init_default_scope=True)
    with input_errors_in_one_line(args.verbose):
        cfg = read_config(args)
        resolve_own_data(cfg)
        pictures = draw_samples(cfg, args.split, args.num, args.seed)
    write_grid(pictures, args.out)
    print(f'{len(pictures)} images of the {args.split} set in {args.out}')
    return args.out


if __name__ == '__main__':
    main()
