"""The metadata of a TFLite file, without its runtime.

A TFLite file is a flatbuffer: tables that point at each other. A table
begins with the distance back to its list of fields, which holds for each
field its distance from the table, 0 for one that is left out.

Source: TensorFlow 2.20, lite/schema/schema.fbs (Model, Metadata, Buffer),
    and flatbuffers' description of its encoding.
"""

import mmap
import struct
from pathlib import Path

from rfdetr_mm_light.errors import InputError

_IDENTIFIER = b'TFL3'
_BUFFERS, _METADATA = 4, 6  # of Model
_NAME, _BUFFER = 0, 1  # of Metadata
_DATA, _OFFSET, _SIZE = 0, 1, 2  # of Buffer


def read_entry(path: Path, name: str) -> bytes | None:
    """Read one entry of the metadata.

    Args:
        path: The ``.tflite`` file.
        name: The name of the entry.

    Returns:
        Its content, None if there is no such entry.

    Raises:
        InputError: If it is not a TFLite file, or not a whole one.
    """
    with open(path, 'rb') as file:
        if file.read(8)[4:] != _IDENTIFIER:
            raise InputError(
                f'{path} is not a TFLite file: it does not have "TFL3" at its '
                'fifth byte'
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return _find(content, name.encode())
            except (struct.error, IndexError) as error:
                raise InputError(
                    f'{path} cannot be read as a TFLite file '
                    f'({len(content)} bytes): a part of it is missing'
                ) from error


def _find(content: mmap.mmap, name: bytes) -> bytes | None:
    model = _follow(content, 0)
    for entry in _tables(content, model, _METADATA):
        if _bytes(content, entry, _NAME) != name:
            continue
        number = _number(content, entry, _BUFFER, '<I')
        buffer = _tables(content, model, _BUFFERS)[number]
        data = _bytes(content, buffer, _DATA)
        if data:
            return data
        # Of files beyond 2 GB the data lie behind the flatbuffer.
        start = _number(content, buffer, _OFFSET, '<Q')
        return content[start : start + _number(content, buffer, _SIZE, '<Q')]
    return None


def _follow(content: mmap.mmap, place: int) -> int:
    """Where the reference at a place leads."""
    return place + struct.unpack_from('<I', content, place)[0]


def _field(content: mmap.mmap, table: int, number: int) -> int | None:
    """The place of a table's field, None if it is left out."""
    fields = table - struct.unpack_from('<i', content, table)[0]
    size = struct.unpack_from('<H', content, fields)[0]
    if 4 + 2 * number >= size:
        return None
    distance = struct.unpack_from('<H', content, fields + 4 + 2 * number)[0]
    return table + distance if distance else None


def _number(content: mmap.mmap, table: int, number: int, kind: str) -> int:
    place = _field(content, table, number)
    return 0 if place is None else struct.unpack_from(kind, content, place)[0]


def _tables(content: mmap.mmap, table: int, number: int) -> list[int]:
    place = _field(content, table, number)
    if place is None:
        return []
    start = _follow(content, place)
    count = struct.unpack_from('<I', content, start)[0]
    if start + 4 + 4 * count > len(content):
        raise IndexError(count)
    return [_follow(content, start + 4 + 4 * i) for i in range(count)]


def _bytes(content: mmap.mmap, table: int, number: int) -> bytes:
    place = _field(content, table, number)
    if place is None:
        return b''
    start = _follow(content, place)
    length = struct.unpack_from('<I', content, start)[0]
    found = content[start + 4 : start + 4 + length]
    if len(found) < length:
        raise IndexError(length)
    return found
