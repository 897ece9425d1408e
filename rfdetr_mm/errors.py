"""Errors that a user can cure, apart from those of a program."""

from rfdetr_mm_light.errors import (
    InputError,
    curable_line,
    is_disk_error,
    is_out_of_memory,
    naming,
)

__all__ = [
    'InputError',
    'curable_line',
    'is_disk_error',
    'is_out_of_memory',
    'naming',
]
