"""Train on both sides, rfdetr's and this package's, and compare step by step.

Identical weights and batches, no augmentation; each side has its own model,
losses, parameter groups, clipping, schedule and moving average:

    python benchmarks/compare_training.py --data DIR

In float64 every loss and the averaged weights must agree to 1e-6. In
float32 rounding is amplified from step to step, so only the first loss is
judged; ``--noise 1e-7`` shows how far rfdetr drifts from itself when its
start weights are changed in their last digits. ``--weights CKPT --evaluate``
continues from a checkpoint and compares the AP on the validation split.

DIR is a folder in one of the layouts of the ``*_custom.py`` configs. Needs
``pip install "rfdetr[train]==1.11.2"``. Writes report.json, report.md and
report.png into ``--out``; the exit code is 1 if a difference is too large.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import training_pair as pair  # first: chooses package and device

# isort: split
import torch
from evaluate_pair import evaluate_ours, evaluate_upstream
from mmengine.config import Config, DictAction
from options import parser
from run_config import input_errors_in_one_line, stop
from training_report import write_report
from upstream import DETECTION_VARIANTS, check_installed

from rfdetr_mm.checkpoints import (
    read_checkpoint,
    read_upstream_layout,
    to_upstream_checkpoint,
)


def load_weights(
    module: Any, path: Path | None, classes: Sequence[str], target: Path
) -> None:
    """Give rfdetr's module its start weights and write them for ours.

    Args:
        module: rfdetr's Lightning module.
        path: A checkpoint of either side; None keeps the random weights.
        classes: Class names of the data set.
        target: File in rfdetr's layout, which our side converts on loading.
    """
    if path is not None:
        content = read_checkpoint(path)
        upstream = read_upstream_layout(content)
        weights = (
            to_upstream_checkpoint(content)[0]['model']
            if upstream is None
            else upstream.weights
        )
        try:
            module.model.load_state_dict(weights)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()
            stop(
                f'{path} does not fit a model of these sizes: give the '
                '--image-size, --num-queries and --num-groups that it was '
                f'trained with, and its data set. {first}'
            )
    torch.save(
        dict(
            model=module.model.state_dict(),
            args=dict(class_names=list(classes)),
        ),
        target,
    )


def compare(
    setup: pair.Setup,
    weights: Path | None = None,
    noise: float = 0.0,
    evaluate: bool = False,
    options: dict | None = None,
) -> pair.Comparison:
    """Train on both sides.

    Args:
        setup: What they have in common.
        weights: Checkpoint to start from; None starts from random weights.
        noise: Relative size of random changes of the start weights in
            another training of rfdetr; 0 leaves it out.
        evaluate: Whether to evaluate on the validation split.
        options: Changes of our config only.

    Returns:
        The comparison.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = folder / 'start.pth'
        cfg = pair.our_config(setup, start, folder / 'ours', options)
        module = _upstream(setup, cfg, folder, weights)
        ours, batches, model = pair.train_ours(cfg, setup)
        preprocess = model.data_preprocessor
        precision = {}
        if evaluate:
            for when, name in (('start', 'before'), ('averages', 'after')):
                model.load_state_dict(getattr(ours, when))
                precision[f'rfdetr_mm, {name}'] = evaluate_ours(
                    model, cfg, folder
                )
            precision['rfdetr, before'] = evaluate_upstream(
                module, cfg, folder, preprocess
            )
        del model
        upstream = pair.train_upstream(module, batches, preprocess, setup)
        if evaluate:
            precision['rfdetr, after'] = evaluate_upstream(
                module, cfg, folder, preprocess
            )
        noisy = None
        if noise:
            module = _upstream(setup, cfg, folder, weights)
            _add_noise(module.model, noise, setup.seed)
            noisy = pair.train_upstream(
                module, batches, preprocess, setup, 'rfdetr with noise'
            )
    return pair.Comparison(setup, ours, upstream, noisy, precision)


def _upstream(
    setup: pair.Setup, cfg: Config, folder: Path, weights: Path | None
) -> Any:
    module = pair.upstream_module(
        setup, cfg.model.bbox_head.num_classes, folder
    )
    classes = cfg.train_dataloader.dataset.metainfo.classes
    load_weights(module, weights, classes, Path(cfg.load_from))
    return module


@torch.no_grad()
def _add_noise(model: torch.nn.Module, size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(
            parameter.shape, generator=generator, dtype=torch.float64
        )
        parameter.copy_(parameter.double() * (1 + size * noise))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    given = parser(__doc__.splitlines()[0])
    add = given.add_argument
    add(
        '--data',
        type=lambda name: Path(name).resolve(),
        required=True,
        help='folder of the data set',
    )
    add('--out', type=Path, default=Path('work_dirs/compare_training'))
    add('--variant', choices=DETECTION_VARIANTS, default='nano')
    add('--weights', type=Path, help='checkpoint of either side; else random')
    add('--schedule', choices=['step', 'cosine'], default='cosine')
    add('--dtype', choices=pair.LIMITS, default='float64')
    for one in fields(pair.Setup):
        if 'help' in one.metadata:
            option = '--' + one.name.replace('_', '-')
            kind = type(one.default)
            add(option, type=kind, default=one.default, **one.metadata)
    add('--noise', type=float, default=0.0, help='1e-7: see above')
    add('--evaluate', action='store_true', help='AP before and after')
    add(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='changes of our side only, which the comparison should notice, '
        'e.g. optim_wrapper.clip_grad.max_norm=0.2',
    )
    args = given.parse_args(argv)
    if args.epochs < 1 or args.steps < 1 or args.steps % args.epochs:
        given.error('--steps must be a multiple of --epochs')
    cells = (args.image_size // 16) ** 2
    if cells < args.num_queries:
        # The README has this difference.
        given.error(
            f'--image-size {args.image_size} makes {cells} cells of 16 x 16 '
            f'px, fewer than --num-queries {args.num_queries}: there rfdetr '
            'mixes up the groups of queries and this package does not. Give '
            'larger images or fewer queries'
        )
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, report, and return 1 if something is too far apart."""
    args = parse_args(argv)
    check_installed()
    args.double = args.dtype == 'float64'
    given = {one.name: getattr(args, one.name) for one in fields(pair.Setup)}
    setup = pair.Setup(**given)
    with input_errors_in_one_line():
        comparison = compare(
            setup, args.weights, args.noise, args.evaluate, args.cfg_options
        )
    failures = comparison.failures()
    write_report(comparison, args, failures)
    return int(bool(failures))


if __name__ == '__main__':
    raise SystemExit(main())
