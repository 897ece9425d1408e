"""What an exported file says about its model, read without its runtime."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from rfdetr_mm_light.errors import InputError
from rfdetr_mm_light.exported_files import is_there

from . import (
    coreml_metadata,
    onnx_metadata,
    pte_metadata,
    tflite_metadata,
)

NAME = 'rfdetr_mm'
"""Of the part of an OpenVINO, TFLite or ExecuTorch file with the texts."""


METADATA_FILE = 'metadata.json'  # within the folder of ncnn


def side_file(path: str | os.PathLike[str]) -> Path:
    """The file with the texts of an engine, which has no room for any."""
    path = Path(path)
    return path.with_name(f'{path.name}.json')


def _read_openvino(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    # The texts stand behind the layers, a megabyte that would take as long to
    # parse as a detection takes. What looks otherwise is parsed as a whole.
    start = content.find(b'<rt_info>', content.rfind(b'</edges>'))
    if start >= 0 and content.rstrip().endswith(b'</net>'):
        content = b'<net>' + content[start:]
    try:
        model = ElementTree.fromstring(content)
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise InputError(
            f'{path} cannot be read as an OpenVINO model: {error}'
        ) from error
    section = model.find(f'rt_info/{NAME}')
    return {
        entry.tag: entry.get('value', '')
        for entry in (() if section is None else section)
    }


def _read_onnx(path: Path) -> dict[str, str]:
    return onnx_metadata.read_texts(path)


def _read_tflite(path: Path) -> dict[str, str]:
    content = tflite_metadata.read_entry(path, NAME)
    return {} if content is None else _texts(content, path)


def _read_pte(path: Path) -> dict[str, str]:
    content = pte_metadata.read_constant(path, NAME)
    return {} if content is None else _texts(content, path)


def _read_coreml(path: Path) -> dict[str, str]:
    return coreml_metadata.read_texts(path)


def _read_ncnn(path: Path) -> dict[str, str]:
    texts = path / METADATA_FILE
    if not texts.is_file():
        raise InputError(
            f'{path} is not an ncnn model of rfdetr_mm: it has no '
            f'{METADATA_FILE}'
        )
    return _texts(texts.read_bytes(), texts)


def _read_engine(path: Path) -> dict[str, str]:
    beside = side_file(path)
    return _texts(beside.read_bytes(), beside) if beside.is_file() else {}


def _texts(content: bytes, path: Path) -> dict[str, str]:
    try:
        texts = json.loads(content)
    except ValueError as error:
        raise InputError(
            f'{path} has metadata that cannot be read: {error}. Export the '
            'model again.'
        ) from error
    if not isinstance(texts, dict):
        raise InputError(
            f'{path} has metadata that is not a table of texts. Export the '
            'model again.'
        )
    return {str(name): str(text) for name, text in texts.items()}


READERS: dict[str, Callable[[Path], dict[str, str]]] = {
    '.onnx': _read_onnx,
    '.xml': _read_openvino,
    '.tflite': _read_tflite,
    '.pte': _read_pte,
    '.ncnn': _read_ncnn,
    '.mlpackage': _read_coreml,
    '.engine': _read_engine,
}
"""Suffix of a kind of file to what reads its metadata."""


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the texts of a file's metadata.

    Args:
        path: An exported file: ``.onnx``, ``.xml`` of OpenVINO, ``.tflite``,
            ``.pte`` of ExecuTorch, ``.ncnn``, ``.mlpackage`` of Core ML, or
            ``.engine`` of TensorRT, whose texts are in ``NAME.engine.json``
            beside it.

    Returns:
        Names to texts, such as ``class_names``; values that are no texts are
        JSON. Empty if the file has none.

    Raises:
        InputError: If there is no such file, or it cannot be read.
    """
    path = check_is_file(path)
    reader = READERS.get(path.suffix.lower())
    return {} if reader is None else reader(path)


def check_is_file(path: str | os.PathLike[str]) -> Path:
    """Make sure that an exported file is there.

    Raises:
        InputError: With the exported files that are in its folder.
    """
    path = Path(path)
    if is_there(path):
        return path
    raise InputError(
        f'there is no exported file {path} (seen from {Path.cwd()}); '
        f'{_exported_files(path.parent)}'
    )


def _exported_files(folder: Path) -> str:
    if not folder.is_dir():
        return f'there is no folder {folder} either'
    names = sorted(
        file.name for file in folder.iterdir() if file.suffix in READERS
    )
    return f'those in {folder}: {", ".join(names) or "none"}'
