"""The metadata of an ONNX file, without the packages onnx and protobuf.

An ONNX file is a protobuf message: a row of fields, each with a number and
its value. Only the fields of the model itself are looked at; the graph, which
is nearly all of the file, is stepped over.

Source: ONNX 1.23, onnx.proto (ModelProto, StringStringEntryProto), and
    protobuf's description of its encoding.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rfdetr_mm_light.errors import InputError

_GRAPH, _METADATA = 7, 14  # of ModelProto
_KEY, _VALUE = 1, 2  # of StringStringEntryProto
_VARINT, _EIGHT_BYTES, _WITH_LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types


def read_texts(path: Path) -> dict[str, str]:
    """Read the metadata of a file.

    Args:
        path: The ``.onnx`` file.

    Returns:
        Names to texts.

    Raises:
        InputError: If it is not an ONNX file, or not a whole one.
    """
    texts: dict[str, str] = {}
    has_graph = False
    size = path.stat().st_size
    with open(path, 'rb') as file:
        try:
            for number, length in _fields(file, size):
                has_graph |= number == _GRAPH
                if number != _METADATA:
                    file.seek(length, os.SEEK_CUR)
                    continue
                end = file.tell() + length
                pair = {
                    part: file.read(count).decode()
                    for part, count in _fields(file, end)
                }
                texts[pair.get(_KEY, '')] = pair.get(_VALUE, '')
        except (ValueError, EOFError) as error:
            raise InputError(
                f'{path} cannot be read as an ONNX file ({size} bytes): it is '
                f'another kind of file, or a part of it is missing: {error}'
            ) from error
    if not has_graph:
        raise InputError(
            f'{path} cannot be read as an ONNX file ({size} bytes): it has no '
            'graph'
        )
    return texts


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Number and length of each field that has a length.

    The file stands at the value; the caller must move beyond it.
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
