"""Test a detector: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from run_config import (
    add_common_options,
    build_runner,
    check_checkpoint,
    input_errors_in_one_line,
    read_config,
    stop,
)

# isort: split
from mmdet.evaluation import DumpDetResults
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; the options are those of mmdet's tool."""
    parser = argparse.ArgumentParser(description='Test a detector')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    parser.add_argument(
        '--out',
        metavar='FILE.pkl',
        help='write the predictions into this pickle file',
    )
    parser.add_argument(
        '--show', action='store_true', help='show the predictions in a window'
    )
    parser.add_argument(
        '--show-dir',
        help='paint the predictions into this folder; a relative path is '
        'taken from the log folder of the run',
    )
    parser.add_argument(
        '--wait-time',
        type=float,
        default=2,
        help='seconds that --show waits at each image',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='predict on a flipped copy of every image as well and merge',
    )
    add_common_options(parser)
    return parser.parse_args(argv)


def test_config(args: argparse.Namespace) -> Config:
    """Turn the command line into the config of the run.

    Raises:
        SystemExit: If the options do not fit the config or name a file that
            does not exist.
    """
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        stop(f'--out writes a pickle file, *.pkl or *.pickle, not {args.out}')
    cfg = read_config(args)
    check_checkpoint(args.checkpoint, 'the command line')
    cfg.load_from = args.checkpoint
    # The config of a resumed training would load its optimizer as well.
    cfg.resume = False
    if args.show or args.show_dir:
        _enable_painting(cfg, args)
    if args.tta:
        _enable_flipped_view(cfg)
    return cfg


def _enable_painting(cfg: Config, args: argparse.Namespace) -> None:
    hook = cfg.default_hooks.get('visualization')
    if hook is None:
        stop(
            '--show and --show-dir need default_hooks.visualization='
            "dict(type='DetVisualizationHook') in the config"
        )
    hook.draw = True
    hook.show = args.show
    hook.wait_time = args.wait_time
    if args.show_dir:
        hook.test_out_dir = args.show_dir


def _enable_flipped_view(cfg: Config) -> None:
    """Wrap the model by ``tta_model`` and let it see every image twice.

    Without a ``tta_pipeline`` in the config the test pipeline is taken, so
    that its image size and other options hold for both views.
    """
    if cfg.get('tta_model') is None:
        stop(
            '--tta needs to know how predictions are merged, but the config '
            "has no entry tta_model=dict(type='DetTTAModel', tta_cfg=...), "
            'which merges boxes and leaves masks out'
        )
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if 'tta_pipeline' in cfg:
        dataset.pipeline = cfg.tta_pipeline
    else:
        *before, pack = dataset.pipeline
        keys = (*pack.get('meta_keys', ()), 'flip', 'flip_direction')
        # The first view is the one whose annotations survive the merge.
        flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
        views = [flips, [ConfigDict(pack, meta_keys=keys)]]
        dataset.pipeline = [
            *before,
            dict(type='TestTimeAug', transforms=views),
        ]
    cfg.model = ConfigDict(cfg.tta_model, module=cfg.model)


def main(argv: Sequence[str] | None = None) -> Runner:
    """Test, say where the results are, and return the finished Runner."""
    args = parse_args(argv)
    with input_errors_in_one_line(args.verbose):
        runner = build_runner(test_config(args))
        if args.out is not None:
            Path(args.out).parent.mkdir(parents=True, exist_ok=True)
            runner.test_evaluator.metrics.append(
                DumpDetResults(out_file_path=args.out)
            )
        runner.test()
    log_dir = Path(runner.log_dir)
    places = [f'Metrics and logs are in {log_dir}']
    if args.show_dir:
        places.append(f'painted images in {log_dir / args.show_dir}')
    if args.out is not None:
        places.append(f'predictions in {args.out}')
    runner.logger.info(', '.join(places) + '.')
    return runner


if __name__ == '__main__':
    main()
