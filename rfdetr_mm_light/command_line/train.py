"""Train a model on your own data.

DATASET is a folder in Roboflow's, COCO's, YOLO's or the flat layout, with
train and validation splits; the layout is detected automatically. Training
starts from the published weights of the size, from --weights, or with
--no-weights from random ones, which takes far longer. The best model ends up
in OUTPUT_DIR/checkpoint_best_total.pth.

Examples:
  rfdetr-mm train DATASET --model nano --epochs 50 --output-dir mine
  rfdetr-mm train DATASET --model medium --batch-size auto --early-stopping
  rfdetr-mm train DATASET --model nano --resume --output-dir mine
  rfdetr-mm train DATASET --model nano --no-weights --epochs 300
  rfdetr-mm train DATASET --weights old.pth --set warmup_epochs=1 wandb=true
  rfdetr-mm train DATASET --model nano --cfg-options auto_scale_lr.enable=True
"""

import argparse

from rfdetr_mm_light.errors import UsageError

from .options import (
    add_config_options,
    add_model_options,
    batch_size,
    check_data_set,
    check_model_options,
    setting,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument('dataset_dir', metavar='DATASET', help='its folder')
    parser.add_argument('--epochs', type=int, help='default: 100')
    parser.add_argument(
        '--batch-size',
        type=batch_size,
        metavar='N',
        help='images at a time, or auto (default: 4)',
    )
    parser.add_argument(
        '--grad-accum-steps',
        type=int,
        metavar='N',
        help='batches that make one step (default: 1)',
    )
    parser.add_argument('--lr', type=float, help='default: 1e-4')
    parser.add_argument(
        '--lr-encoder', type=float, help='of the backbone (default: 1.5e-4)'
    )
    parser.add_argument('--output-dir', help='default: output')
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        metavar='FILE',
        help='go on with this checkpoint of a training, or without a name '
        'with the latest one in OUTPUT_DIR',
    )
    parser.add_argument(
        '--early-stopping',
        action='store_true',
        help='end when the validation no longer gets better',
    )
    parser.add_argument(
        '--no-weights',
        action='store_true',
        help='start from random weights; nothing is downloaded',
    )
    parser.add_argument('--num-workers', type=int, metavar='N')
    parser.add_argument('--seed', type=int)
    parser.add_argument(
        '--set',
        dest='settings',
        nargs='+',
        type=setting,
        default=[],
        metavar='KEY=VALUE',
        help='any other argument of train(): rfdetr_mm.apis, TrainConfig',
    )
    add_config_options(parser, 'the config of the training')
    add_model_options(parser)


def check(args: argparse.Namespace) -> None:
    """Check what needs neither torch nor a network.

    Raises:
        UsageError: If no model was chosen or options exclude each other.
        InputError: If a file or folder is missing.
    """
    if args.no_weights and args.weights is not None:
        raise UsageError('--no-weights and --weights exclude each other')
    if args.no_weights and args.model is None:
        raise UsageError('--no-weights needs --model SIZE, such as nano')
    check_model_options(args)
    check_data_set(args.dataset_dir)
