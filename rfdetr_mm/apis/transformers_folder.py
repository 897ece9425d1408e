"""Write a folder of weights and configs for transformers."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from rfdetr_mm.checkpoints import (
    ConversionReport,
    to_transformers,
    write_safetensors,
)
from rfdetr_mm.checkpoints.transformers_files import CONFIG_FILE, WEIGHTS_FILE
from rfdetr_mm.errors import InputError

from .conversion import to_rfdetr
from .transformers_config import processor_config, transformers_config


def write_transformers(
    content: Mapping[str, Any], config: Config, folder: str | os.PathLike
) -> ConversionReport:
    """Write a folder that transformers' ``from_pretrained`` loads.

    Args:
        content: ``dict(state_dict=…, meta=…)`` of this package, or the
            weights alone.
        config: The config of its model.
        folder: Where to write; new, or empty. It appears complete or not at
            all.

    Returns:
        The report of the conversion.

    Raises:
        InputError: If the folder has content, or transformers does not have
            such a model.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f'{folder} exists and is not an empty folder.')
    transformers_config(config)  # before the work
    upstream, report = to_rfdetr(content, config)
    names = tuple(report.class_names)
    files = {
        CONFIG_FILE: transformers_config(config, names),
        'preprocessor_config.json': processor_config(config),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        new = Path(scratch, 'new')
        new.mkdir()
        weights = to_transformers(upstream['model'], names)
        write_safetensors(weights, new / WEIGHTS_FILE)
        for name, value in files.items():
            text = json.dumps(value, indent=2, ensure_ascii=False)
            (new / name).write_text(text + '\n', encoding='utf-8')
        os.replace(new, folder)
    return report
