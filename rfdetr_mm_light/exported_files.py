"""Which files are exported models, by their names."""

import os

EXPORTED_SUFFIXES = ('.onnx', '.xml', '.tflite', '.pte', '.ncnn', '.engine')
"""Suffixes of files that ``rfdetr_runtime`` loads."""

FOLDER_SUFFIXES = ('.ncnn', '.mlpackage')
"""Suffixes of exported models that are folders."""

INFERENCE_PRECISIONS = ('f32', 'bf16', 'f16')
"""What OpenVINO can be told to compute in, by its own names."""


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Whether a name is that of an exported file."""
    return _suffix(path) in EXPORTED_SUFFIXES


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file, or the folder that stands for one."""
    if _suffix(path) in FOLDER_SUFFIXES and os.path.isdir(path):
        return True
    return os.path.isfile(path)


def _suffix(path: str | os.PathLike[str]) -> str:
    # A shell that completes the name of a folder ends it with a slash.
    return os.path.splitext(os.fspath(path).rstrip('/'))[1].lower()
