"""Options of several subcommands, above all the choice of a model."""

import argparse
import ast
from pathlib import Path
from typing import Any

from rfdetr_mm_light.errors import InputError, UsageError
from rfdetr_mm_light.exported_files import (
    INFERENCE_PRECISIONS,
    is_exported,
    is_there,
)
from rfdetr_mm_light.published_files import PUBLISHED_FILES
from rfdetr_mm_light.sizes import find_size

EXPORTED_COMMANDS = ('predict', 'val', 'benchmark')
"""Subcommands that take an exported file instead of a checkpoint."""


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a model."""
    group = parser.add_argument_group('model')
    group.add_argument(
        '--model',
        metavar='SIZE',
        help='nano, small, medium, large, seg-nano, … (rfdetr-mm info has all)'
        '; needed unless --weights says it; tiny works without a network but '
        'knows drawn shapes only, no photographs',
    )
    group.add_argument(
        '--weights',
        metavar='FILE',
        help='checkpoint of rfdetr or of this package; for predict, val and '
        'benchmark an exported file as well; or the name of a '
        "published file (default: the size's published one; that of tiny "
        'comes with this package)',
    )
    group.add_argument(
        '--device', help='such as cpu or cuda:0 (default: the best there is)'
    )
    group.add_argument(
        '--resolution',
        type=int,
        metavar='PX',
        help="side of the square that the model sees (default: the model's)",
    )
    parser.add_argument(
        '-v',
        '--verbose',
        action='store_true',
        help='print more: the log of mmengine, all details of an error',
    )
    group.add_argument(
        '--accept-platform-model-license',
        action='store_true',
        help='accept the licence PML-1.0 of the published xlarge and 2xlarge '
        'weights',
    )


def add_model_file(parser: argparse.ArgumentParser) -> None:
    """Add the file of ``--weights`` as a positional argument as well."""
    parser.add_argument(
        'weights',
        metavar='FILE',
        nargs='?',
        default=argparse.SUPPRESS,
        help='an exported file or a checkpoint, as --weights takes it',
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add what OpenVINO computes in."""
    parser.add_argument(
        '--precision',
        choices=INFERENCE_PRECISIONS,
        help='what an .xml file of OpenVINO is computed in (default: what the '
        "file says, else OpenVINO's choice, bf16 on a CPU that has it)",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the choice of one process or of Ray."""
    parser.add_argument(
        '--engine',
        choices=('process', 'ray'),
        default='process',
        help='this process alone, or the workers of Ray, which the extra '
        'scale installs (default: process)',
    )
    parser.add_argument(
        '--address',
        metavar='ADDRESS',
        help='with --engine ray: a cluster that runs, auto or HOST:PORT '
        '(default: Ray is started on this machine for this command)',
    )
    parser.add_argument(
        '--num-models',
        type=int,
        metavar='N',
        help='with --engine ray: models that predict at a time (default: one '
        'for each GPU, or for each processor)',
    )


def check_engine(args: argparse.Namespace) -> None:
    """Check the options of :func:`add_engine`.

    Args:
        args: Parsed options.

    Raises:
        UsageError: If they are for Ray, and it was not chosen, or there is
            no model.
    """
    if args.engine == 'ray':
        if args.num_models is not None and args.num_models < 1:
            raise UsageError('--num-models is 1 at least')
        if args.device not in (None, 'cpu', 'cuda'):
            raise UsageError(
                'with --engine ray, --device is cpu or cuda: Ray hands the '
                f'GPUs out, got {args.device}'
            )
        return
    for name in ('address', 'num_models'):
        if getattr(args, name) is not None:
            option = '--' + name.replace('_', '-')
            raise UsageError(f'{option} is for --engine ray')


def check_model_options(args: argparse.Namespace) -> None:
    """Check what needs neither torch nor a network.

    Args:
        args: Parsed options of :func:`add_model_options`.

    Raises:
        UsageError: If neither a size nor weights were given, or
            ``--precision`` for a checkpoint.
        InputError: If there is no such size, or the weights are a path in a
            folder and there is no such file.
    """
    if args.model is None and args.weights is None:
        raise UsageError(
            'choose a model: --model SIZE, such as nano, or --weights FILE'
        )
    if args.weights is not None and is_exported(args.weights):
        check_exported(args)
        return
    if getattr(args, 'precision', None) is not None:
        raise UsageError(
            "--precision is for OpenVINO's files; checkpoints are computed "
            'in float32'
        )
    if args.model is not None:
        find_size(args.model)
    if args.weights is None or '://' in args.weights:
        return
    path = Path(args.weights).expanduser()
    # A bare name may lie in the cache folder, a published one is downloaded.
    is_bare = path.name == args.weights
    if not is_bare and path.name not in PUBLISHED_FILES and not path.exists():
        raise InputError(
            f'There is no checkpoint file {args.weights} (seen from '
            f'{Path.cwd()}), which was given by --weights.'
        )


def check_exported(args: argparse.Namespace) -> None:
    """Check the options of an exported file.

    Args:
        args: Parsed options of :func:`add_model_options`.

    Raises:
        UsageError: If there is ``--model`` as well.
        InputError: If the subcommand needs a checkpoint, or there is no such
            file.
    """
    if args.model is not None:
        raise UsageError(
            f'{args.weights} is an exported file, which says what model it '
            'is: leave --model out'
        )
    if args.command not in EXPORTED_COMMANDS:
        raise InputError(
            f'{args.weights} is an exported file, which can only predict; '
            f'{args.command} needs a checkpoint'
        )
    if not is_there(args.weights):
        raise InputError(
            f'There is no exported file {args.weights} (seen from '
            f'{Path.cwd()}).'
        )


def take_file(args: argparse.Namespace, values: list[str]) -> list[str]:
    """Take an exported file among positional arguments for ``--weights``.

    Args:
        args: Parsed options of :func:`add_model_options`.
        values: The positional arguments.

    Returns:
        The others.

    Raises:
        UsageError: If there are two files, or ``--weights`` as well.
    """
    files = [value for value in values if is_exported(value)]
    if not files:
        return values
    if len(files) > 1 or args.weights is not None:
        raise UsageError(
            f'there must be one model, got {", ".join(files)}'
            + (f' and --weights {args.weights}' if args.weights else '')
        )
    (args.weights,) = files
    return [value for value in values if value not in files]


def check_data_set(folder: str) -> None:
    """Check that the folder of a data set is there.

    Args:
        folder: DATASET of the command line.

    Raises:
        InputError: If it is not a folder.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        found = 'is a file' if path.exists() else 'is not there'
        raise InputError(
            f'DATASET must be the folder of a data set, and {folder} {found} '
            f'(seen from {Path.cwd()}).'
        )


def score(text: str) -> float:
    """Read a score.

    Raises:
        argparse.ArgumentTypeError: If it does not lie in [0, 1].
    """
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not a score from 0 to 1')
    return value


def add_config_options(parser: argparse.ArgumentParser, config: str) -> None:
    """Add options for what no other option is for.

    Args:
        parser: The subcommand's.
        config: What the config is that they change.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help=f"change entries of {config}, as mmdet's tools do: "
        'optim_wrapper.optimizer.lr=1e-5; a list is "[a,b]"; a key that '
        'nobody reads is an error, and +KEY=VALUE adds it all the same',
    )


def batch_size(text: str) -> int | str:
    """Read a number of images, or ``auto``."""
    return text if text == 'auto' else int(text)


def setting(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``; a value that is not a Python literal is text.

    Raises:
        argparse.ArgumentTypeError: If there is no ``=``.
    """
    key, equals, value = text.partition('=')
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f'{text!r} is not KEY=VALUE')
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        words = {'true': True, 'false': False, 'none': None}
        return key, words.get(value, value)
