"""The metadata of an ONNX file, without the packages onnx and protobuf.

Only the fields of the model itself are looked at; the graph, which is nearly
all of the file, is stepped over.

Source: ONNX 1.23, onnx.proto (ModelProto, StringStringEntryProto).
"""

import os
from pathlib import Path

from rfdetr_mm_light.errors import InputError

from .protobuf import fields

_GRAPH, _METADATA = 7, 14  # of ModelProto
_KEY, _VALUE = 1, 2  # of StringStringEntryProto


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
            for number, length in fields(file, size):
                has_graph |= number == _GRAPH
                if number != _METADATA:
                    file.seek(length, os.SEEK_CUR)
                    continue
                end = file.tell() + length
                pair = {
                    part: file.read(count).decode()
                    for part, count in fields(file, end)
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
