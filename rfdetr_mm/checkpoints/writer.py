"""Write converted checkpoints and say what was done."""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.files import atomic_file, file_md5

from .convert import ConversionReport

_SAFETENSORS_NAMES = {
    torch.float32: 'F32',
    torch.float16: 'F16',
    torch.bfloat16: 'BF16',
}


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


def write_safetensors(
    weights: Mapping[str, Tensor], path: str | os.PathLike[str]
) -> None:
    """Write a ``.safetensors`` file that appears complete or not at all.

    Args:
        weights: Name to tensor of float32, float16 or bfloat16.
        path: The file to write; an existing one is replaced.

    Raises:
        InputError: If a tensor is of another type.

    Source: the format's description, huggingface/safetensors README
        (Apache-2.0).
    """
    header: dict[str, Any] = {'__metadata__': {'format': 'pt'}}
    end = 0
    for name, weight in weights.items():
        if weight.dtype not in _SAFETENSORS_NAMES:
            raise InputError(
                f'{name} is {weight.dtype}, and .safetensors files are '
                'written of float32, float16 and bfloat16. Convert it by '
                '.float().'
            )
        begin, end = end, end + weight.numel() * weight.element_size()
        header[name] = dict(
            dtype=_SAFETENSORS_NAMES[weight.dtype],
            shape=list(weight.shape),
            data_offsets=[begin, end],
        )
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)  # so that the data begins aligned
    with atomic_file(path) as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for weight in weights.values():
            raw = weight.detach().cpu().contiguous().flatten()
            file.write(raw.view(torch.uint8).numpy().tobytes())


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
