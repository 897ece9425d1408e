"""Run ``rfdetr-mm val``: evaluate a model on a data set.

Its options are in ``rfdetr_mm_light/command_line/val.py``.
"""

import argparse
from collections.abc import Callable
from functools import partial

from rfdetr_mm.apis.evaluation_on_ray import RayEvaluation
from rfdetr_mm.apis.exported import evaluate_file
from rfdetr_mm.engine.config_options import read_options
from rfdetr_mm.engine.console import FULL, QUIET, console
from rfdetr_mm_light.exported_files import is_exported
from rfdetr_runtime.command_line.on_ray import file_loader
from rfdetr_runtime.command_line.options import load_file
from rfdetr_runtime.detection_files import write_json

from .early_checks import check_evaluation
from .options import given, load_model

_NAMES = ('batch_size', 'num_workers', 'output_dir', 'report', 'against')


def run(args: argparse.Namespace) -> None:
    """Evaluate.

    Raises:
        InputError: If an argument, the data set, the device, the folder for
            results or the weights cannot be used; checked in this order.
    """
    options = given(args, _NAMES)
    if args.cfg_options:  # not for exported files
        options['cfg_options'] = read_options(args.cfg_options)
    with console(FULL if args.verbose else QUIET):
        check_evaluation(args, options)
        if args.engine == 'ray':
            options['test'] = _test_on_ray(args)
        if is_exported(args.weights or ''):
            metrics = evaluate_file(
                load_file(args), args.split, args.dataset_dir, **options
            )
        else:
            metrics = load_model(args).evaluate(
                args.split,
                dataset_dir=args.dataset_dir,
                compute_test_loss=False,  # all that is printed is in points
                **options,
            )
    width = max(map(len, metrics))
    for name, value in metrics.items():
        # COCO's -1: the data set has no such objects.
        points = '-' if value == -1 else f'{100 * value:.2f}'
        if 'threshold' in name:  # as --threshold takes it
            points = f'{value:.2f}'
        print(f'{name:<{width}}  {points:>6}')
    if args.report is not None:
        print(f'the report is {args.report / "index.html"}')
    if args.json is not None:
        write_json(metrics, args.json)


def _test_on_ray(
    args: argparse.Namespace,
) -> Callable[..., dict[str, float]]:
    gpu = None if args.device is None else args.device == 'cuda'
    if not is_exported(args.weights or ''):
        return RayEvaluation(args.address, args.num_models, gpu).test
    loader = file_loader(args)
    where = RayEvaluation(args.address, args.num_models, loader.gpu)
    return partial(where.test_file, loader)
