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
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f'there is no exported file {path} (seen from {Path.cwd()}); '
            f'{exported_files(path.parent)}'
        )
    reader = READERS.get(path.suffix)
    return {} if reader is None else reader(path)


def exported_files(folder: Path) -> str:
    """Say which exported files a folder has."""
    if not folder.is_dir():
        return f'there is no folder {folder} either'
    names = sorted(
        file.name for file in folder.iterdir() if file.suffix in READERS
    )
    return f'those in {folder}: {", ".join(names) or "none"}'
