"""RF-DETR as a native plugin of MMDetection.

``import rfdetr_mm`` registers everything into mmdet's own registries.
"""

import contextlib
import sys

from rfdetr_mm_light.stack import check_stack

# One line that names the extra, not the first import that fails below.
check_stack()

from .moved import find_moved_modules  # noqa: E402
from .operators import activate  # noqa: E402
from .version import __version__  # noqa: E402

# Before anything imports mmcv's operators, which mmcv may lack.
activate()
find_moved_modules()
# OneDL's mmdet prints two lines when it is imported; standard output is for
# results, which others may read (rfdetr-mm predict --json).
with contextlib.redirect_stdout(sys.stderr):
    from . import datasets, engine, evaluation, models, registry  # noqa: E402

__all__ = [
    '__version__',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'registry',
]
