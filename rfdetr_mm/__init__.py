"""RF-DETR as a native plugin of MMDetection.

``import rfdetr_mm`` registers everything into mmdet's own registries.
"""

from . import datasets, engine, evaluation, models, registry
from .version import __version__

__all__ = [
    '__version__',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'registry',
]
