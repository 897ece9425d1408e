"""Make the weights that come with this package: ``python demo/pretrain.py``.

Draws the data set of ``pretraining_shapes.py`` (5 minutes, 430 MB), trains on
it from random weights with ``tools/train.py`` and
``configs/rfdetr/rfdetr_tiny_pretraining-shapes.py``, goes on with
``..._part-2.py`` twice (12 000 iterations in all, about an hour on one core)
and writes the averaged weights of the last iteration as a file to ship.

The shipped file, ``rfdetr://rf-detr-tiny-shapes.pth``, was made with these
settings, but not by one run of this command: each round was started by hand,
and the second one was stopped at iteration 1 500 and resumed. Another machine
rounds otherwise, so its weights will be others of the same worth.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from pretraining_shapes import write_pretraining_shapes
from run import ROOT, config_options, run_tool  # finds this clone's package

from rfdetr_mm.checkpoints import read_checkpoint, write_checkpoint

CONFIGS = tuple(
    ROOT / 'configs' / 'rfdetr' / f'rfdetr_tiny_pretraining-shapes{part}.py'
    for part in ('', '_part-2', '_part-2')  # where the rate starts anew
)
"""Of the three rounds, each from the weights of the one before."""


def pack(checkpoint: dict[str, Any], cfg: Config) -> dict[str, Any]:
    """Keep what a user of the weights needs, as small as it can be.

    Args:
        checkpoint: A training's file; its ``state_dict`` holds the averages.
        cfg: The config of the model. Blocks of the backbone after the last
            tapped one, which never run but must be there, become views of
            a single zero.

    Returns:
        Weights in float16, the class names and the config.
    """
    num_blocks = cfg.model.backbone.out_indices[-1] + 1
    weights = {}
    for name, weight in checkpoint['state_dict'].items():
        parts = name.split('.')
        half = weight.half() if weight.is_floating_point() else weight
        if parts[:2] == ['backbone', 'blocks'] and int(parts[2]) >= num_blocks:
            half = torch.zeros(1, dtype=half.dtype).expand(half.shape)
        weights[name] = half.clone() if half.is_contiguous() else half
    meta = dict(
        cfg=cfg.pretty_text, dataset_meta=dict(classes=cfg.metainfo.classes)
    )
    return dict(state_dict=weights, meta=meta)


def latest_checkpoint(work_dir: Path) -> Path:
    """The checkpoint that a training wrote last."""
    return Path((work_dir / 'last_checkpoint').read_text().strip())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--data-dir',
        type=Path,
        default=ROOT / 'data' / 'pretraining_shapes',
        help='where the data set is, or is drawn (default: %(default)s)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=ROOT / 'work_dirs' / 'pretraining',
        help='where checkpoints go (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='file to write (default: rf-detr-tiny-shapes.pth in the work '
        'dir)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='handed to tools/train.py',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> Path:
    """Draw, train and pack; return the file."""
    args = parse_args(argv)
    data_dir, work_dir = args.data_dir.resolve(), args.work_dir.resolve()
    if not (data_dir / 'val.json').is_file():  # which is written last
        write_pretraining_shapes(data_dir)
    options = ['--cfg-options', *config_options(data_dir, 'train.json')]
    # There is no test split, the validation split serves as one.
    options[-1] = f'test_evaluator.ann_file={data_dir}/val.json'
    start = 'None'
    for number, config in enumerate(CONFIGS, start=1):
        folder = work_dir / f'round_{number}'
        run_tool(
            *('train.py', config, '--work-dir', folder),
            *(*options, f'load_from={start}', *args.cfg_options),
        )
        start = str(latest_checkpoint(folder))
    content = read_checkpoint(start)
    out = args.out or work_dir / 'rf-detr-tiny-shapes.pth'
    md5 = write_checkpoint(
        pack(content, Config.fromfile(CONFIGS[0])), out, force=True
    )
    print(f'\n{out}: {out.stat().st_size / 1e6:.2f} MB, MD5 {md5}')
    return out


if __name__ == '__main__':
    main()
