"""Errors that a user can cure, apart from those of a program."""

import torch

from rfdetr_mm_light.errors import InputError

__all__ = ['InputError', 'is_out_of_memory']


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not get memory, on a GPU or on the CPU."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    signs = ("can't allocate memory", 'CUDA out of memory', 'ALLOC_FAILED')
    return isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in signs
    )
