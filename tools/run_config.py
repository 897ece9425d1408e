"""What train.py and test.py share: options, the config, early complaints.

Imported first by both, so that a tool run from any folder takes the package
that lies beside it and not another one that happens to be installed.
"""

import argparse
import contextlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / 'rfdetr_mm' / '__init__.py').is_file():
    sys.path.insert(0, str(ROOT))

from rfdetr_mm_light import interrupts  # noqa: E402

# Before what takes long: from here on Ctrl+C is one line. Whoever imports a
# tool, as tests do, keeps what it does itself.
if Path(sys.argv[0]).resolve().is_relative_to(ROOT):
    interrupts.install([sys.executable, *sys.argv], Path(sys.argv[0]).name)

# It registers models, hooks and loaders, and comes before mmdet, which does
# not import where mmcv has no operators.
import rfdetr_mm  # noqa: E402, F401

# isort: split
from mmengine.config import Config  # noqa: E402

from rfdetr_mm.engine.config_options import (  # noqa: E402
    OptionAction,
    merge_options,
)
from rfdetr_mm.engine.console import FULL, SHORT, console  # noqa: E402
from rfdetr_mm.engine.running import build_runner  # noqa: E402, F401
from rfdetr_mm.errors import (  # noqa: E402
    InputError,
    curable_line,
    is_disk_error,
)

_LESS_MEMORY = (
    'Lower train_dataloader.batch_size, in validation and tests the '
    'batch_size of val_dataloader and test_dataloader; '
    'optim_wrapper.accumulative_counts=N keeps the images per step '
    '(tools/analysis_tools/find_batch_size.py proposes both). Other ways: '
    'model.backbone.with_cp=True, mixed precision by --amp, a smaller image '
    'size by resolution=N.'
)


def stop(message: str) -> NoReturn:
    """End the program with one line instead of a traceback."""
    raise SystemExit(f'{Path(sys.argv[0]).name}: error: {message}')


@contextlib.contextmanager
def input_errors_in_one_line(verbose: bool = False) -> Iterator[None]:
    """Stop with one line at what options can cure; leave other errors alone.

    Args:
        verbose: Whether the details of an error are lines below, and
            everything is printed that mmengine logs.

    Which these are says :func:`rfdetr_mm.errors.curable_line`. A full disk
    is one also when a log file meets it, where Python would print a
    traceback at every line and go on.
    """
    default = logging.Handler.handleError

    def handle_error(handler: logging.Handler, record: Any) -> None:
        error = sys.exc_info()[1]
        if is_disk_error(error):
            raise error
        default(handler, record)

    logging.Handler.handleError = handle_error
    mode = FULL if verbose else SHORT
    try:
        with interrupts.unwinding(), console(mode):
            yield
    except Exception as error:
        line = curable_line(error, _LESS_MEMORY, verbose)
        if line is None:
            raise
        stop(line)
    finally:
        logging.Handler.handleError = default


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add --cfg-options, for a tool that only reads a config."""
    parser.set_defaults(work_dir=None, launcher='none', local_rank=0)
    parser.add_argument(
        '-v',
        '--verbose',
        action='store_true',
        help='print the whole config and all details of an error',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='change entries of the config, e.g. train_dataloader.batch_size=8'
        ' model.backbone.frozen_stages=2; resolution=512 or resolution='
        '"(384,512)", (height, width) in pixels, sets the image size '
        'everywhere; a list is "[a,b]", without spaces, '
        'and one of its entries is addressed by its number: '
        'test_dataloader.dataset.pipeline.1.kernel=predict; a key that nobody '
        'reads is an error, and +KEY=VALUE adds it all the same',
    )


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing have in common."""
    add_cfg_options(parser)
    parser.add_argument(
        '--work-dir',
        help='folder for logs and results (default: work_dir of the config, '
        'else work_dirs/CONFIG_NAME)',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of a distributed job were started',
    )
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help='number of this process on its machine; launchers set it',
    )


def read_config(
    args: argparse.Namespace, types: Mapping[str, str] | None = None
) -> Config:
    """Read the config file and merge the common options into it.

    Args:
        args: Parsed options, with ``config`` beside the common ones.
        types: Types that other options will set, see
            :func:`rfdetr_mm.engine.config_options.merge_options`.

    Returns:
        The config, with ``work_dir`` and ``launcher`` set.

    Raises:
        SystemExit: If there is no such config file.
        InputError: If an option has no effect or a value that is not legal.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    path = Path(args.config)
    if not path.is_file():
        stop(
            f'there is no config file {args.config} (seen from {Path.cwd()}); '
            f'those of RF-DETR are in {ROOT / "configs" / "rfdetr"}'
        )
    cfg = Config.fromfile(path)
    cfg.launcher = args.launcher
    merge_options(cfg, args.cfg_options or {}, types)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', path.stem))
    return cfg


def check_checkpoint(location: str | None, given_by: str) -> None:
    """Complain about a missing checkpoint file before anything is built.

    Args:
        location: A path, an address with a scheme such as ``https://``,
            which is left to its loader, or None for no checkpoint.
        given_by: The option or config entry that named it.

    Raises:
        SystemExit: If it is a path and there is no such file.
    """
    if location is None or '://' in location or Path(location).is_file():
        return
    stop(
        f'there is no checkpoint file {location} (seen from {Path.cwd()}), '
        f'which was given by {given_by}'
    )


def require_deploy() -> None:
    """Stop unless the packages that deployment needs are installed.

    Raises:
        InputError: With what to install.
    """
    missing = [
        name
        for name in ('mmdeploy', 'onnx', 'onnxruntime')
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise InputError(
            f'deployment needs {", ".join(missing)}, not installed here: pip '
            "install 'rfdetr_mm[deploy]' && pip install --no-deps "
            'mmdeploy==1.3.1'
        )
