"""Run ``rfdetr-mm convert``: convert checkpoints both ways.

Its options are in ``rfdetr_mm_light/command_line/convert.py``.
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

from .options import find_size


def run(args: argparse.Namespace) -> None:
    """Convert, check, write, report.

    Raises:
        InputError: If the file cannot be read, converted or written.
    """
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
