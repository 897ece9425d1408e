"""What an exported file says about its model, whatever the backend."""

import os
from pathlib import Path

from rfdetr_mm.errors import InputError

from . import onnx_file, openvino
from .tflite import convert

READERS = {
    '.onnx': onnx_file.read_metadata,
    '.xml': openvino.read_metadata,
    '.tflite': convert.read_metadata,
}


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Texts of a file's metadata.

    Args:
        path: An exported file.

    Returns:
        Names to texts, such as ``class_names``; empty for a kind of file
        that has none.

    Raises:
        InputError: If there is no such file, or it cannot be read.
    """
    if not Path(path).is_file():
        raise InputError(f'there is no exported file {path}')
    reader = READERS.get(Path(path).suffix)
    return {} if reader is None else reader(path)
