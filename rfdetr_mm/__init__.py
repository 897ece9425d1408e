"""RF-DETR as a native plugin of MMDetection.

``import rfdetr_mm`` registers everything into mmdet's own registries.
"""

import contextlib
import sys

# OneDL's mmdet prints two lines when it is imported; standard output is for
# results, which others may read (rfdetr-mm predict --json).
with contextlib.redirect_stdout(sys.stderr):
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
