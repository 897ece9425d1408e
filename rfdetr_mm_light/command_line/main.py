"""Read the command line, run a subcommand, turn errors into exit codes."""

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from rfdetr_mm_light import interrupts
from rfdetr_mm_light.errors import UsageError, curable_line
from rfdetr_mm_light.exported_files import is_exported
from rfdetr_mm_light.version import __version__

from . import (
    benchmark,
    check,
    convert,
    demo_data,
    export,
    info,
    pack,
    predict,
    setup_operators,
    split,
    train,
    val,
)

DESCRIPTION = """\
RF-DETR on MMDetection: predict, train, evaluate, export.

  rfdetr-mm predict street.jpg --model nano --out-dir found
  rfdetr-mm check DATASET
  rfdetr-mm train DATASET --model nano --epochs 50 --output-dir mine
  rfdetr-mm val DATASET --weights mine/checkpoint_best_total.pth
  rfdetr-mm predict photos/ --weights mine/checkpoint_best_total.pth
  rfdetr-mm export --weights mine/checkpoint_best_total.pth --format onnx
  rfdetr-mm info

--model names a size, whose published weights are downloaded once;
--weights is a checkpoint of rfdetr or of this package, which says its size.
"""
EPILOG = """\
rfdetr-mm COMMAND --help has the options and more examples.
Exit codes: 0 done, 1 it failed (one line says why), 2 wrong usage, 130 stopped
by Ctrl+C.
"""
_LESS_MEMORY = (
    'Lower --batch-size (train keeps its steps with --grad-accum-steps) or '
    '--resolution.'
)
COMMANDS = (
    predict,
    train,
    val,
    export,
    convert,
    benchmark,
    info,
    check,
    split,
    pack,
    demo_data,
    setup_operators,
)
"""Modules with the options of a subcommand, and its description.

One that has ``run`` as well needs no torch. The others run in the module of
the same name in ``rfdetr_mm.apis.command_line``.
"""
TORCH_FREE = ('predict', 'benchmark')
"""Subcommands that ``rfdetr_runtime.command_line`` has for exported files."""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog='rfdetr-mm',
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--version', action='version', version=f'rfdetr_mm {__version__}'
    )
    parser.add_argument(
        '--traceback',
        action='store_true',
        help='show where an error comes from, instead of one line',
    )
    commands = parser.add_subparsers(
        dest='command', metavar='COMMAND', required=True
    )
    for module in COMMANDS:
        text = module.__doc__.strip()
        command = commands.add_parser(
            _command_name(module),
            help=text.splitlines()[0].rstrip('.'),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(command)
        command.set_defaults(module=module, parser=command)
    return parser


def command_names() -> list[str]:
    """Names of all subcommands, as a user types them."""
    return [_command_name(module) for module in COMMANDS]


def _command_name(module: ModuleType) -> str:
    return module.__name__.rpartition('.')[2].replace('_', '-')


def _refuse_empty(
    argv: Sequence[str], parser: argparse.ArgumentParser
) -> None:
    """An empty path would be the current folder."""
    for before, text in zip(('rfdetr-mm', *argv), argv):
        option, equals, value = text.partition('=')
        is_option = option.startswith('--') and bool(equals)
        if not text or (is_option and not value):
            parser.error(
                f'an empty text is given to {option or before}; is it a '
                'variable of the shell without a value?'
            )


def _no_check(args: argparse.Namespace) -> None:
    """For subcommands whose options cannot be wrong."""


def _find_run(
    args: argparse.Namespace,
) -> Callable[[argparse.Namespace], None]:
    """The function that runs a subcommand; most of them import torch now."""
    module = args.module
    if hasattr(module, 'run'):
        return module.run
    name = module.__name__.rpartition('.')[2]
    package = 'rfdetr_mm.apis.command_line'
    if name in TORCH_FREE and is_exported(args.weights or ''):
        package = 'rfdetr_runtime.command_line'
    return importlib.import_module(f'{package}.{name}').run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments; the program's own if None.

    Returns:
        The exit code: 0, or 1 if it failed, 130 after Ctrl+C.

    Raises:
        SystemExit: With 2 after wrong usage, 0 after ``--help``.
    """
    parser = build_parser()
    _refuse_empty(sys.argv[1:] if argv is None else argv, parser)
    args = parser.parse_args(argv)
    # It has a subcommand's options, not predict()'s.
    warnings.filterwarnings('ignore', 'The model is not optimised')
    try:
        # What is wrong without torch is said before it is imported.
        getattr(args.module, 'check', _no_check)(args)
        run = _find_run(args)
        with interrupts.unwinding():
            run(args)
    except UsageError as error:
        args.parser.error(str(error))
    except KeyboardInterrupt:
        interrupts.say_stopped()
        return interrupts.EXIT_CODE
    except Exception as error:
        verbose = getattr(args, 'verbose', False)
        line = curable_line(error, _LESS_MEMORY, verbose)
        if args.traceback or line is None:
            raise
        if not verbose:  # its message may list keys below its first line
            line = ' '.join(line.split())
        print(f'rfdetr-mm {args.command}: error: {line}', file=sys.stderr)
        return 1
    return 0


def program() -> NoReturn:
    """What the installed script calls."""
    by_module = Path(sys.argv[0]).name == '__main__.py'
    module = [sys.executable, '-m', 'rfdetr_mm_light']
    command = [*(module if by_module else sys.argv[:1]), *sys.argv[1:]]
    interrupts.install(command, 'rfdetr-mm')
    sys.exit(main())
