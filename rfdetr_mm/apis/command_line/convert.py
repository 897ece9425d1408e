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
from rfdetr_mm.apis.weights import locate_weights
from rfdetr_mm.checkpoints import (
    CLASS_ROW_WEIGHTS,
    check_target,
    file_md5,
    read_checkpoint,
    read_upstream_layout,
    summarise,
    to_mmdet_checkpoint,
    write_checkpoint,
)
from rfdetr_mm.engine.config_options import merge_options, read_options
from rfdetr_mm.errors import naming
from rfdetr_mm.sizes.identify import find_size
from rfdetr_mm.sizes.shipped import read_config_of


def run(args: argparse.Namespace) -> None:
    """Convert, check, write, report.

    Raises:
        InputError: If the file cannot be read, converted or written.
    """
    src = locate_weights(args.src, args.accept_platform_model_license)
    check_target(args.dst, args.force)
    content = read_checkpoint(src)
    is_upstream = read_upstream_layout(content) is not None
    if args.config is not None:
        cfg = Config.fromfile(args.config)
        merge_options(cfg, read_options(args.cfg_options))
    else:
        cfg = _config_of(src, content, args.model)
    with naming(src):
        if is_upstream:
            done, report = from_rfdetr(content, cfg, args.ema)
            done['meta']['converted_from'].update(
                file=Path(src).name, md5=file_md5(src)
            )
        else:
            done, report = to_rfdetr(content, cfg)
    md5 = write_checkpoint(done, args.dst, args.force)
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
    with naming(path):
        ours, _ = to_mmdet_checkpoint(content)
    weights = ours.get('state_dict', ours)
    model_config.num_classes = len(weights[CLASS_ROW_WEIGHTS[0][0]])
    cfg = read_config_of(saved.variant)
    fill_in_model(cfg, model_config)
    return cfg
