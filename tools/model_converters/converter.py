"""What both converters share: the command line, and how a file is written."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from run_config import (  # noqa: E402  (puts this clone in front)
    add_cfg_options,
    merge_options,
)

# isort: split
from mmengine.config import Config  # noqa: E402

from rfdetr_mm.checkpoints import (  # noqa: E402
    check_target,
    summarise,
    write_checkpoint,
)
from rfdetr_mm.errors import InputError  # noqa: E402


def command_line(
    description: str, src: str, dst: str, config: str
) -> argparse.ArgumentParser:
    """Make the parser of a converter.

    Args:
        description: What the converter does.
        src: Help of the file to convert.
        dst: Help of the new file.
        config: Help of the config.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('src', help=src)
    parser.add_argument('dst', help=dst)
    parser.add_argument('--config', required=True, help=config)
    parser.add_argument(
        '--force', action='store_true', help='replace an existing DST'
    )
    add_cfg_options(parser)
    return parser


def run(
    name: str,
    args: argparse.Namespace,
    convert: Callable[[argparse.Namespace, Config], tuple[dict, Any]],
) -> int:
    """Convert, check, write and report.

    Args:
        name: The converter's name, for errors.
        args: The command line.
        convert: Gives the new checkpoint and the report.

    Returns:
        The exit status.
    """
    try:
        check_target(args.dst, args.force)
        config = Config.fromfile(args.config)
        merge_options(config, args.cfg_options or {})
        checkpoint, report = convert(args, config)
        md5 = write_checkpoint(checkpoint, args.dst, args.force)
    except (InputError, OSError) as error:
        print(f'{name}: {error}', file=sys.stderr)
        return 1
    print(summarise(report))
    print(f'every key and shape fits the model of {args.config}')
    print(f'wrote {args.dst} (MD5 {md5})')
    return 0
