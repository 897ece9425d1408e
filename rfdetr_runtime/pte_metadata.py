"""The metadata of an ExecuTorch file, without its runtime.

The metadata are what a method of the program returns, a constant text. A
``.pte`` file is a flatbuffer, whose eight first bytes are followed by a header
that says where the weights are.

Source: ExecuTorch 1.5.1, schema/program.fbs (Program, ExecutionPlan, EValue,
    String) and exir/_serialize/_program.py, _ExtendedHeader.
"""

import mmap
import struct
from pathlib import Path

from rfdetr_mm_light.errors import InputError

from .flatbuffer import bytes_of, follow, table_of, tables_of

_IDENTIFIER = b'ET12'
_HEADER = b'eh00'
_PLANS = 1  # of Program
_NAME, _VALUES = 0, 2  # of ExecutionPlan
_VALUE = 1  # of EValue; its kind is field 0
_TEXT = 0  # of String


def read_constant(path: Path, name: str) -> bytes | None:
    """Read the text that a method returns.

    Args:
        path: The ``.pte`` file.
        name: The name of the method.

    Returns:
        The text in UTF-8, None if there is no such method.

    Raises:
        InputError: If it is not an ExecuTorch file, or not a whole one.
    """
    with open(path, 'rb') as file:
        if file.read(8)[4:] != _IDENTIFIER:
            raise InputError(
                f'{path} is not an ExecuTorch file: it does not have "ET12" '
                'at its fifth byte'
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                _check_length(content)
                return _find(content, name.encode())
            except (struct.error, IndexError) as error:
                raise InputError(
                    f'{path} cannot be read as an ExecuTorch file '
                    f'({len(content)} bytes): a part of it is missing'
                ) from error


def _check_length(content: mmap.mmap) -> None:
    """The runtime itself does not look at the end of the weights."""
    if content[8:12] != _HEADER:
        return
    size, start, length = struct.unpack_from('<QQQ', content, 16)
    if len(content) < max(size, start + length):
        raise IndexError(len(content))


def _find(content: mmap.mmap, name: bytes) -> bytes | None:
    for plan in tables_of(content, follow(content, 0), _PLANS):
        if bytes_of(content, plan, _NAME) == name:
            (value,) = tables_of(content, plan, _VALUES)
            text = table_of(content, value, _VALUE)
            return None if text is None else bytes_of(content, text, _TEXT)
    return None
