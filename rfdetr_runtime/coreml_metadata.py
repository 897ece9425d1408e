"""The metadata of an ML package of Core ML, without coremltools.

A package is a folder; the file in it that describes the model is a protobuf
message.

Source: coremltools 9.0, mlmodel/format/Model.proto (Model, ModelDescription,
    Metadata).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rfdetr_mm_light.errors import InputError

from .protobuf import fields

_MODEL = Path('Data', 'com.apple.CoreML', 'model.mlmodel')
_DESCRIPTION = 2  # of Model
_METADATA = 100  # of ModelDescription
_USER_DEFINED = 100  # of Metadata
_KEY, _VALUE = 1, 2  # of an entry


def read_texts(path: Path) -> dict[str, str]:
    """Read the metadata of a package.

    Args:
        path: The folder ``*.mlpackage``.

    Returns:
        Names to texts.

    Raises:
        InputError: If it is not a package of Core ML, or not a whole one.
    """
    file = path / _MODEL
    try:
        with open(file, 'rb') as content:
            return _texts(content, file.stat().st_size)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f'{path} cannot be read as a package of Core ML: {error}'
        ) from error


def _texts(file: BinaryIO, size: int) -> dict[str, str]:
    texts: dict[str, str] = {}
    for description in _only(file, size, _DESCRIPTION):
        for metadata in _only(file, description, _METADATA):
            for entry in _only(file, metadata, _USER_DEFINED):
                pair = {
                    part: file.read(length).decode()
                    for part, length in fields(file, entry)
                }
                texts[pair.get(_KEY, '')] = pair.get(_VALUE, '')
    return texts


def _only(file: BinaryIO, end: int, wanted: int) -> Iterator[int]:
    """Ends of the fields of one number; the file stands at their beginning."""
    for number, length in fields(file, end):
        stop = file.tell() + length
        if number == wanted:
            yield stop
        file.seek(stop, os.SEEK_SET)
