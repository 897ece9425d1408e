"""What train.py and test.py share: options, the config, early complaints.

Imported first by both, so that a tool run from any folder takes the package
that lies beside it and not another one that happens to be installed.
"""

import argparse
import contextlib
import difflib
import importlib.util
import inspect
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / 'rfdetr_mm' / '__init__.py').is_file():
    sys.path.insert(0, str(ROOT))

# It registers models, hooks and loaders, and comes before mmdet, which does
# not import where mmcv has no operators.
import rfdetr_mm  # noqa: E402, F401

# isort: split
from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from rfdetr_mm.engine.running import build_runner  # noqa: E402, F401
from rfdetr_mm.errors import (  # noqa: E402
    InputError,
    curable_line,
    is_disk_error,
)
from rfdetr_mm.sizes.config_facts import (  # noqa: E402
    check_sizes_agree,
    set_resolution,
)

_LESS_MEMORY = (
    'Lower train_dataloader.batch_size, in validation and tests the '
    'batch_size of val_dataloader and test_dataloader; '
    'optim_wrapper.accumulative_counts=N keeps the images per step '
    '(tools/analysis_tools/find_batch_size.py proposes both). Other ways: '
    'model.backbone.with_cp=True, mixed precision by --amp, a smaller image '
    'size by resolution=N.'
)
# Entries of a config that these tools read beside the Runner.
_READ_ELSEWHERE = {
    'auto_scale_lr',
    'compile',
    'data_root',
    'dataset_layout',
    'device',
    'model_name',
    'notes',
    'resolution',
    'runner_type',
    'test_pipeline',
    'train_pipeline',
    'tta_model',
    'tta_pipeline',
}
_SPACES_WITHIN = re.compile(r'(?<=[^\s,()\[\]]) +(?=[^\s,()\[\]])')


def stop(message: str) -> NoReturn:
    """End the program with one line instead of a traceback."""
    raise SystemExit(f'{Path(sys.argv[0]).name}: error: {message}')


@contextlib.contextmanager
def input_errors_in_one_line() -> Iterator[None]:
    """Stop with one line at what options can cure; leave other errors alone.

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
    try:
        yield
    except Exception as error:
        line = curable_line(error, _LESS_MEMORY)
        if line is None:
            raise
        stop(line)
    finally:
        logging.Handler.handleError = default


class OptionAction(DictAction):
    """KEY=VALUE options that may have spaces within, as paths and names do.

    mmengine's own removes all spaces.
    """

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        kept = _SPACES_WITHIN.sub(lambda m: '\0' * len(m.group()), val)
        return _with_spaces(DictAction._parse_iterable(kept))


def _with_spaces(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_with_spaces, value))
    return value.replace('\0', ' ') if isinstance(value, str) else value


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add --cfg-options, for a tool that only reads a config."""
    parser.set_defaults(work_dir=None, launcher='none', local_rank=0)
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
        'test_dataloader.dataset.pipeline.1.kernel=predict',
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


def read_config(args: argparse.Namespace) -> Config:
    """Read the config file and merge the common options into it.

    Args:
        args: Parsed options, with ``config`` beside the common ones.

    Returns:
        The config, with ``work_dir`` and ``launcher`` set.

    Raises:
        SystemExit: If there is no such config file.
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
    merge_options(cfg, args.cfg_options or {})
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', path.stem))
    return cfg


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Merge --cfg-options, and see to those that would change nothing.

    ``resolution`` is the image size in all places that depend on it,
    ``data_root`` the folder of all data sets.

    Args:
        cfg: The config, changed in place.
        options: Key to value, as on the command line.

    Raises:
        SystemExit: If an option cannot have an effect.
        InputError: If the image size is not a legal one, or the config's
            places say different ones.
    """
    options = dict(options)
    resolution = options.pop('resolution', None)
    _merge(cfg, options)
    if resolution is not None:
        set_resolution(cfg, resolution)
    check_sizes_agree(cfg)


def _merge(cfg: Config, options: Mapping[str, Any]) -> None:
    known = {*inspect.signature(Runner.__init__).parameters, *_READ_ELSEWHERE}
    for option in options:
        name = option.partition('.')[0]
        if name in known or isinstance(cfg.get(name), (dict, list)):
            continue
        if name in cfg:
            stop(
                f'--cfg-options {option} changes nothing: {name} is a name '
                'within the config file, which was used when the file was '
                'read. Change the entries that have its value (for the image '
                'size: resolution=…)'
            )
        close = difflib.get_close_matches(name, known, 1)
        hint = f'; did you mean {close[0]}?' if close else ''
        warnings.warn(
            f'--cfg-options {option}: no part of a run reads {name}{hint}',
            stacklevel=2,
        )
    old = cfg.get('data_root')
    cfg.merge_from_dict(options)
    if 'data_root' in options and 'dataset_layout' not in cfg:
        moved = [
            _move(cfg[key], old, cfg.data_root)
            for key in cfg
            if key.endswith(('_dataloader', '_evaluator'))
        ]
        named = any(option.endswith('.data_root') for option in options)
        if not any(moved) and not named:
            stop(
                'data_root changes nothing in this config, whose data sets '
                f'do not lie below its own data_root={old!r}; set data_root '
                'of each data set, such as train_dataloader.dataset.data_root'
            )


def _move(node: Any, old: str | None, new: str) -> bool:
    """Let paths below one folder be below another, in place."""
    is_dict = isinstance(node, dict)
    if not old or not (is_dict or isinstance(node, list)):
        return False
    moved = False
    for key, value in list(node.items() if is_dict else enumerate(node)):
        if isinstance(value, str) and f'{value}/'.startswith(
            f'{old.rstrip("/")}/'
        ):
            rest = value[len(old.rstrip('/')) :]
            node[key] = new.rstrip('/') + rest
            moved = True
        else:
            moved |= _move(value, old, new)
    return moved


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
