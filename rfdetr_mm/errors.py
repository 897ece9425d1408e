"""Errors that a user can cure, apart from those of a program."""

import torch


class InputError(ValueError):
    """A file, folder or option that the user gave cannot be used.

    Its message is written for the user: it says what is wrong with which
    file or option and what to do. The tools print it without a traceback,
    so nothing else may raise it.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not get memory, on a GPU or on the CPU."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    signs = ("can't allocate memory", 'CUDA out of memory', 'ALLOC_FAILED')
    return isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in signs
    )
