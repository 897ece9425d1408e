"""Checks of what is given to the methods of a model."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.blocks import check_divisible

from .devices import find_device
from .model_config import ModelConfig, positive_int


def input_shape(shape: Any, config: ModelConfig) -> tuple[int, int]:
    """Check the size of the network's input.

    Args:
        shape: (height, width) in pixels; None for the square of the model.
        config: The configuration of the model.

    Returns:
        (height, width) in pixels.

    Raises:
        InputError: If these are not two positive integers that are divisible
            by ``patch_size * num_windows``.
    """
    if shape is None:
        return (config.resolution, config.resolution)
    if isinstance(shape, np.ndarray):
        shape = shape.tolist()
    if not isinstance(shape, Sequence) or len(shape) != 2:
        problem = 'two positive integers (height, width)'
    elif not all(_is_integer(side) for side in shape):
        problem = 'integers (height, width), neither bool nor float'
    elif min(shape) <= 0:
        problem = 'positive integers (height, width)'
    else:
        size_hw = (int(shape[0]), int(shape[1]))
        check_divisible(
            f'shape={tuple(shape)}',
            size_hw,
            config.patch_size,
            config.num_windows,
        )
        return size_hw
    raise InputError(f'shape must be {problem}, got {shape!r}')


def _is_integer(value: Any) -> bool:
    return hasattr(value, '__index__') and not isinstance(value, bool)


def check_patch_size(patch_size: Any, config: ModelConfig) -> None:
    """Check that a patch size, if one is given, is the model's.

    Args:
        patch_size: Side of a patch in pixels; None is not checked.
        config: The configuration of the model.

    Raises:
        InputError: If it is not.
    """
    if patch_size is None:
        return
    if positive_int('patch_size', patch_size) != config.patch_size:
        raise InputError(
            f"patch_size={patch_size} is not the model's, which is "
            f'{config.patch_size} and belongs to its weights; leave it out'
        )


def floating_dtype(dtype: Any) -> torch.dtype:
    """Find a dtype by its name.

    Args:
        dtype: A dtype or the name of one.

    Returns:
        The dtype.

    Raises:
        TypeError: If it is neither.
        InputError: If it is not of floating point.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype):
        raise TypeError(
            'dtype must be a torch.dtype or the name of one, such as '
            f"'float16', got {dtype!r}"
        )
    if not found.is_floating_point:
        raise InputError(f'dtype must be of floating point, got {found}')
    return found


def training_device(device: Any, default: str) -> str:
    """Check the device of a training.

    Args:
        device: ``'cpu'``, ``'cuda'``, ``'cuda:1'``, ``'mps'`` or such a
            ``torch.device``; None for ``default``.
        default: The model's.

    Returns:
        Its name. Other devices than these are not for training: a warning,
        and ``default``.

    Raises:
        InputError: If it names no device, or one that this machine
            lacks.
    """
    if device is None:
        return default
    found = find_device(device)
    if found.type not in ('cpu', 'cuda', 'mps'):
        warnings.warn(
            f'device={device!r} is not one for training; {default} is taken.',
            stacklevel=3,
        )
        return default
    return str(found)


def device_named(accelerator: str) -> str | None:
    """Turn rfdetr's word for a kind of device into ours.

    Args:
        accelerator: ``'auto'``, ``'cpu'``, ``'gpu'``, ``'cuda'`` or
            ``'mps'``.

    Returns:
        Name of the device, None for ``'auto'``.
    """
    return {'auto': None, 'gpu': 'cuda'}.get(accelerator, accelerator)


def check_executorch_backend(
    format: str, backend: str | None, soc: str | None
) -> None:
    """Refuse what ExecuTorch files are not made for here.

    Args:
        format: The format of the file.
        backend: What runs the file; XNNPACK if it is None.
        soc: The chip that it is for, which XNNPACK does not ask.

    Raises:
        InputError: For another backend than XNNPACK, or for a chip.

    Source: rfdetr 1.11.2, detr.py, RFDETR.export (arguments).
    """
    if format not in ('executorch', 'pte'):
        return
    if backend not in (None, 'xnnpack'):
        raise InputError(
            f"format={format!r} is made for backend='xnnpack', which runs on "
            f"any CPU, got {backend!r}: rfdetr's 'coreml' and 'qnn' are for "
            'devices of Apple and Qualcomm, and could not be tried here'
        )
    if soc is not None:
        raise InputError(
            f"soc names a chip for rfdetr's backend='qnn', got soc={soc!r}: "
            "leave it out, as backend='xnnpack' runs on any CPU"
        )
