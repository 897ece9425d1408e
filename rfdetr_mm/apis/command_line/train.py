"""Run ``rfdetr-mm train``: train a model on own data.

Its options are in ``rfdetr_mm_light/command_line/train.py``.
"""

import argparse

from rfdetr_mm.engine.config_options import read_options
from rfdetr_mm.engine.console import FULL, QUIET, console

from .early_checks import check_training
from .options import given, load_model

_NAMES = (
    'epochs',
    'batch_size',
    'grad_accum_steps',
    'lr',
    'lr_encoder',
    'output_dir',
    'resume',
    'early_stopping',
    'num_workers',
    'seed',
)


def run(args: argparse.Namespace) -> None:
    """Train.

    Raises:
        InputError: If an argument, the data set, the device, the folder for
            results or the weights cannot be used; checked in this order.
    """
    options = given(args, _NAMES) | dict(args.settings)
    if args.cfg_options:
        options['cfg_options'] = read_options(args.cfg_options)
    # A training that goes on has weights of its own.
    published = 'resume' not in options and not args.no_weights
    with console(FULL if args.verbose else QUIET):
        check_training(args, options)
        model = load_model(args, published=published)
        model.train(dataset_dir=args.dataset_dir, **options)
    folder = options.get('output_dir', 'output')
    print(f'the best model is {folder}/checkpoint_best_total.pth')
