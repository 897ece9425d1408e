"""Train a detector: ``python tools/train.py CONFIG``."""

import argparse
from collections.abc import Sequence

from run_config import (
    add_common_options,
    build_runner,
    check_checkpoint,
    input_errors_in_one_line,
    interrupts,
    read_config,
    stop,
)

# isort: split
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; the options are those of mmdet's tool."""
    parser = argparse.ArgumentParser(description='Train a detector')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train in mixed precision, float16 unless --cfg-options '
        'optim_wrapper.dtype=bfloat16 is given',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by images per step, all processes '
        'together, over auto_scale_lr.base_batch_size of the config',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, or without a name from the '
        'latest one in the work dir',
    )
    add_common_options(parser)
    return parser.parse_args(argv)


def train_config(args: argparse.Namespace) -> Config:
    """Turn the command line into the config of the run.

    Raises:
        SystemExit: If the options do not fit the config or the machine, or
            name a checkpoint that does not exist.
    """
    mixed = {'optim_wrapper': 'AmpOptimWrapper'} if args.amp else None
    cfg = read_config(args, mixed)
    if args.amp:
        _enable_mixed_precision(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            stop(
                '--auto-scale-lr needs the batch size that the learning rate '
                'was tuned for, but the config has no entry '
                'auto_scale_lr=dict(base_batch_size=...)'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    check_checkpoint(
        cfg.get('load_from'), '--resume' if args.resume else 'load_from'
    )
    return cfg


def _enable_mixed_precision(cfg: Config) -> None:
    device = get_device()
    if device in ('cpu', 'mps'):
        stop(
            '--amp needs a CUDA, NPU, MLU or MUSA device, but mmengine found '
            f'only {device!r}; leave --amp out to train in float32'
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def main(argv: Sequence[str] | None = None) -> Runner:
    """Train, say where the results are, and return the finished Runner."""
    args = parse_args(argv)
    with input_errors_in_one_line(args.verbose):
        cfg = train_config(args)
        interrupts.note_training(cfg.work_dir, bool(cfg.get('resume')))
        runner = build_runner(cfg)
        runner.train()
    best = runner.message_hub.runtime_info.get('best_ckpt')
    runner.logger.info(
        f'Checkpoints and the full config are in {runner.work_dir}'
        + (f', the best checkpoint is {best}' if best else '')
        + f', logs are in {runner.log_dir}.'
    )
    return runner


if __name__ == '__main__':
    main()
