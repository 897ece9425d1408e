"""Convert checkpoints: rfdetr's to this package's, and back.

The direction is what SRC is not. Everything in the file is checked against
the model before anything is written.

Examples:
  rfdetr-mm convert rf-detr-nano.pth nano.pth
  rfdetr-mm convert mine/checkpoint_best_total.pth for_rfdetr.pth
  rfdetr-mm convert best.pth for_rfdetr.pth --config work_dirs/mine/mine.py
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from rfdetr_mm.apis.conversion import from_rfdetr, to_rfdetr
from rfdetr_mm.apis.model_config import fill_in_model, make_model_config
from rfdetr_mm.apis.saved_model import SavedModel, identify
from rfdetr_mm.apis.weights import locate_weights, read_content
from rfdetr_mm.checkpoints import (
    CLASS_ROW_WEIGHTS,
    check_target,
    file_md5,
    read_upstream_layout,
    summarise,
    to_mmdet_checkpoint,
    write_checkpoint,
)
from rfdetr_mm.errors import InputError

from .options import UsageError, find_size


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument('src', help='checkpoint, or name of a published file')
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--model', metavar='SIZE', help='where the file does not say it'
    )
    parser.add_argument(
        '--config', help='config of the model, where it is none of the sizes'
    )
    parser.add_argument(
        '--ema',
        action='store_true',
        help="take the averaged weights in a training checkpoint of rfdetr's",
    )
    parser.add_argument(
        '--force', action='store_true', help='replace an existing DST'
    )
    parser.add_argument(
        '--accept-platform-model-license',
        action='store_true',
        help='accept the licence PML-1.0 of xlarge and 2xlarge',
    )


def run(args: argparse.Namespace) -> None:
    """Convert, check, write, report.

    Raises:
        UsageError: If options exclude each other.
        InputError: If the file cannot be read, converted or written.
    """
    if args.model is not None and args.config is not None:
        raise UsageError('--model and --config exclude each other')
    src = locate_weights(args.src, args.accept_platform_model_license)
    try:
        check_target(args.dst, args.force)
        content = read_content(src)
        is_upstream = read_upstream_layout(content) is not None
        if args.config is not None:
            cfg = Config.fromfile(args.config)
        else:
            cfg = _config_of(src, content, args.model)
        if is_upstream:
            done, report = from_rfdetr(content, cfg, args.ema)
            done['meta']['converted_from'].update(
                file=Path(src).name, md5=file_md5(src)
            )
        else:
            done, report = to_rfdetr(content, cfg)
        md5 = write_checkpoint(done, args.dst, args.force)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f'{src}: {error}') from error
    print(summarise(report))
    kind = 'for this package' if is_upstream else 'for rfdetr'
    print(f'wrote {args.dst}, {kind} (MD5 {md5})')


def _config_of(
    path: str, content: Mapping[str, Any], size: str | None
) -> Config:
    """The config of the model that a checkpoint is of."""
    if size is None:
        saved = identify(path, content)
    else:
        saved = SavedModel(find_size(size), {})
    model_config = make_model_config(saved.variant, saved.fields)
    ours, _ = to_mmdet_checkpoint(content)
    weights = ours.get('state_dict', ours)
    model_config.num_classes = len(weights[CLASS_ROW_WEIGHTS[0][0]])
    cfg = saved.variant.read_config()
    fill_in_model(cfg, model_config)
    return cfg
