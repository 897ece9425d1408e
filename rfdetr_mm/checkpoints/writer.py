"""Write converted checkpoints and say what was done."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.files import atomic_file, file_md5

from .convert import ConversionReport


def weights_md5(state_dict: Mapping[str, Tensor]) -> str:
    """Tell weights from others, whatever file they are in.

    Args:
        state_dict: Name to weight.

    Returns:
        The MD5 of names, dtypes, shapes and values, in the order of the
        names, as 32 hexadecimal digits.
    """
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(state_dict):
        weight = state_dict[name].detach().cpu().contiguous()
        digest.update(f'{name} {weight.dtype} {tuple(weight.shape)}'.encode())
        digest.update(weight.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def check_target(path: str | os.PathLike[str], force: bool) -> None:
    """Raise InputError if ``path`` exists and may not be replaced.

    Args:
        path: Where a checkpoint is going to be written.
        force: Whether an existing file may be replaced.
    """
    if Path(path).is_dir():
        raise InputError(f'{path} is a folder; give the path of a file.')
    if Path(path).exists() and not force:
        raise InputError(
            f'{path} exists and is not overwritten; give another path, or '
            '--force to replace it.'
        )


def write_checkpoint(
    content: dict[str, Any], path: str | os.PathLike[str], force: bool = False
) -> str:
    """Write a checkpoint that appears complete or not at all.

    Args:
        content: What to write, tensors and plain Python values.
        path: The file to write.
        force: Whether an existing file may be replaced.

    Returns:
        The MD5 of the file.

    Raises:
        InputError: If the file exists and may not be replaced.
    """
    check_target(path, force)
    with atomic_file(path) as file:
        torch.save(content, file)
    return file_md5(path)


def summarise(report: ConversionReport) -> str:
    """Return a conversion's report as a table of plain text."""
    num_stacked = sum(len(keys) for keys in report.stacked.values())
    rows = [
        ('keys renamed', str(len(report.renamed))),
        (
            'keys stacked per group',
            f'{num_stacked} <-> {len(report.stacked)}',
        ),
        ('keys viewed per group', str(len(report.reshaped))),
        ('keys dropped', str(len(report.dropped))),
        *((f'  {key}', reason) for key, reason in report.dropped.items()),
        (
            'query groups x queries',
            f'{report.num_groups} x {report.num_queries}',
        ),
        ('classes', str(len(report.class_names))),
        ('numbers in the weights', f'{report.num_parameters:,}'),
        *(('note', note) for note in report.notes),
    ]
    width = max(len(name) for name, _ in rows)
    return '\n'.join(f'{name:<{width}}  {value}' for name, value in rows)
