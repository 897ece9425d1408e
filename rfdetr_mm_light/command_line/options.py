"""Options of several subcommands, above all the choice of a model."""

import argparse
import ast
from pathlib import Path
from typing import Any

from rfdetr_mm_light.errors import InputError, UsageError
from rfdetr_mm_light.published_files import PUBLISHED_FILES
from rfdetr_mm_light.sizes import find_size


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
        help='checkpoint of rfdetr or of this package, or the name of a '
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


def check_model_options(args: argparse.Namespace) -> None:
    """Check what needs neither torch nor a network.

    Args:
        args: Parsed options of :func:`add_model_options`.

    Raises:
        UsageError: If neither a size nor weights were given.
        InputError: If there is no such size, or the weights are a path in a
            folder and there is no such file.
    """
    if args.model is None and args.weights is None:
        raise UsageError(
            'choose a model: --model SIZE, such as nano, or --weights FILE'
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


def check_data_set(folder: str) -> None:
    """Check that the folder of a data set is there.

    Args:
        folder: DATASET of the command line.

    Raises:
        InputError: If it is not a folder.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        found = 'a file' if path.exists() else 'nothing'
        raise InputError(
            f'DATASET must be the folder of a data set, and {folder} is '
            f'{found} (seen from {Path.cwd()}).'
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
