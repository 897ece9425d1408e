"""Which files are exported models, by their names."""

import os

EXPORTED_SUFFIXES = ('.onnx', '.xml', '.tflite', '.pte', '.ncnn', '.engine')
"""Suffixes of files that ``rfdetr_runtime`` loads."""

INFERENCE_PRECISIONS = ('f32', 'bf16', 'f16')
"""What OpenVINO can be told to compute in, by its own names."""


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Whether a name is that of an exported file."""
    suffix = os.path.splitext(os.fspath(path))[1]
    return suffix.lower() in EXPORTED_SUFFIXES
