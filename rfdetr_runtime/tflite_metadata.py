"""The metadata of a TFLite file, without its runtime.

Source: TensorFlow 2.20, lite/schema/schema.fbs (Model, Metadata, Buffer).
"""

import mmap
import struct
from pathlib import Path

from rfdetr_mm_light.errors import InputError

from .flatbuffer import bytes_of, follow, number_of, tables_of

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
    model = follow(content, 0)
    for entry in tables_of(content, model, _METADATA):
        if bytes_of(content, entry, _NAME) != name:
            continue
        number = number_of(content, entry, _BUFFER, '<I')
        buffer = tables_of(content, model, _BUFFERS)[number]
        data = bytes_of(content, buffer, _DATA)
        if data:
            return data
        # Of files beyond 2 GB the data lie behind the flatbuffer.
        start = number_of(content, buffer, _OFFSET, '<Q')
        return content[start : start + number_of(content, buffer, _SIZE, '<Q')]
    return None
