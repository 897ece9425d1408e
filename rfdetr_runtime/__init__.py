"""Exported files of RF-DETR predict by themselves, without torch.

``load('model.onnx').predict('street.jpg')``: everything that is needed is in
the file's own metadata. The package imports numpy, Pillow, the standard
library and ``rfdetr_mm_light``; the runtime of a file is imported when one is
loaded.
"""

from rfdetr_mm_light.errors import InputError
from rfdetr_mm_light.version import __version__

from .detections import Detections
from .exported_model import ExportedModel, load
from .metadata import read_metadata

__all__ = [
    'Detections',
    'ExportedModel',
    'InputError',
    '__version__',
    'load',
    'read_metadata',
]
