"""Options of several subcommands, above all the choice of a model."""

import argparse
import ast
import difflib
from typing import Any

from rfdetr_mm import apis
from rfdetr_mm.apis.variants import VARIANTS, Variant
from rfdetr_mm.apis.weights import locate_weights
from rfdetr_mm.errors import InputError


class UsageError(Exception):
    """Options that do not go together; ends with exit code 2."""


def size_name(variant: Variant) -> str:
    """The short name of a size: ``nano``, ``seg-nano``."""
    stem = variant.config.rpartition('/')[2].removesuffix('_custom.py')
    return stem.removeprefix('rfdetr').strip('-_').replace('_', '-')


SIZES = {size_name(variant): variant for variant in VARIANTS.values()}
"""Short name to size."""


def find_size(name: str) -> Variant:
    """Find a size by any of its names.

    Args:
        name: ``nano``, ``rfdetr-nano``, ``RFDETRNano`` or
            ``rfdetr_nano_coco``.

    Raises:
        InputError: If there is none, with the known ones.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    short = name.lower().replace('_', '-').removesuffix('.py')
    for part in ('rfdetr', 'rf-detr'):
        short = short.removeprefix(part)
    for part in ('-coco', '-custom'):
        short = short.removesuffix(part)
    short = short.strip('-')
    if short not in SIZES:
        close = difflib.get_close_matches(short, SIZES, 1, 0.4)
        hint = f' Did you mean {close[0]}?' if close else ''
        raise InputError(
            f'{name!r} is no size.{hint} Sizes are: {", ".join(SIZES)}.'
        )
    return SIZES[short]


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
    group.add_argument(
        '--accept-platform-model-license',
        action='store_true',
        help='accept the licence PML-1.0 of the published xlarge and 2xlarge '
        'weights',
    )


def load_model(
    args: argparse.Namespace, published: bool = True
) -> 'apis.RFDETR':
    """Build the model that the options name.

    Args:
        args: Parsed options of :func:`add_model_options`.
        published: Whether a size without ``--weights`` takes the published
            ones, not random ones.

    Raises:
        UsageError: If neither a size nor weights were given.
        InputError: If there is no such size, or the weights do not fit.
    """
    fields = given(args, ('device', 'resolution'))
    if args.accept_platform_model_license:
        fields['accept_platform_model_license'] = True
    if args.model is not None:
        if args.weights is not None:
            fields['pretrain_weights'] = args.weights
        elif not published:
            fields['pretrain_weights'] = None
        return getattr(apis, find_size(args.model).class_name)(**fields)
    if args.weights is None:
        raise UsageError(
            'choose a model: --model SIZE, such as nano, or --weights FILE'
        )
    path = locate_weights(args.weights, args.accept_platform_model_license)
    return apis.from_checkpoint(path, **fields)


def batch_size(text: str) -> int | str:
    """Read a number of images, or ``auto``."""
    return text if text == 'auto' else int(text)


def setting(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``; a value that is no Python literal is text.

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


def given(args: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """The options among ``names`` that were given."""
    values = {name: getattr(args, name) for name in names}
    return {
        k: v for k, v in values.items() if v is not None and v is not False
    }
