"""Reading a protobuf message, the encoding of ONNX's and Core ML's files.

A message is a row of fields, each with a number and its value.

Source: protobuf's description of its encoding.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

_VARINT, _EIGHT_BYTES, _WITH_LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types


def fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Number and length of each field that has a length.

    The file stands at the value; the caller must move beyond it.

    Args:
        file: The file, at the beginning of the message.
        end: Where the message ends.

    Yields:
        The number of the field, and how many bytes its value has.

    Raises:
        EOFError: If a part is missing.
        ValueError: If it is not a message.
    """
    while file.tell() < end:
        number, kind = divmod(_varint(file), 8)
        if kind == _VARINT:
            _varint(file)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            file.seek(8 if kind == _EIGHT_BYTES else 4, os.SEEK_CUR)
        elif kind == _WITH_LENGTH:
            length = _varint(file)
            if file.tell() + length > end:
                raise EOFError(
                    f'field {number} has {length} bytes, there are '
                    f'{end - file.tell()}'
                )
            yield number, length
        else:
            raise ValueError(f'there is no type {kind} of fields')


def _varint(file: BinaryIO) -> int:
    """A number in groups of seven bits, the lowest ones first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError('it ends within a number')
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError('a number has more than 64 bits')
