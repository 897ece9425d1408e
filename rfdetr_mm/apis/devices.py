"""Names of devices, checked before anything is built on one."""

from typing import Any

import torch

from rfdetr_mm.errors import InputError


def find_device(device: Any) -> torch.device:
    """Check that a device is there.

    Args:
        device: ``'cpu'``, ``'cuda'``, ``'cuda:1'``, ``'mps'`` or another
            device of torch, or its name.

    Returns:
        The device.

    Raises:
        InputError: If it names no device, or one that this machine
            lacks.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"device={device!r} is not a device; name one, such as 'cpu', "
            "'cuda', 'cuda:1' or 'mps'"
        ) from error
    number = torch.cuda.device_count()
    if found.type == 'cuda' and (found.index or 0) >= number:
        raise InputError(
            f'device={device!r}, but torch sees {number} CUDA devices; take '
            "another one, or 'cpu'"
        )
    if found.type == 'mps' and not torch.backends.mps.is_available():
        raise InputError(
            f'device={device!r}, but torch sees no such GPU; take cpu'
        )
    return found


def device_name(device: torch.device) -> str:
    """Name of a device, with the model of a GPU."""
    if device.type == 'cuda':
        return f'{device}, {torch.cuda.get_device_name(device)}'
    return str(device)
