"""RF-DETR as a native plugin of MMDetection.

``import rfdetr_mm`` registers everything into mmdet's own registries.
"""

import contextlib
import io
import sys

from rfdetr_mm_light.stack import check_stack

# One line that names the extra, not the first import that fails below.
check_stack()

from .moved import find_moved_modules  # noqa: E402
from .operators import activate  # noqa: E402
from .version import __version__  # noqa: E402


class _WithoutLines(io.StringIO):
    """Standard error, but for lines with a certain beginning."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self._beginning = beginning

    def write(self, text: str) -> int:
        """Write what is complete; keep the begin of a line."""
        super().write(text)
        *lines, rest = self.getvalue().split('\n')
        self.seek(0)
        self.truncate()
        super().write(rest)
        for line in lines:
            if not line.startswith(self._beginning):
                sys.stderr.write(line + '\n')
        return len(text)


# Before anything imports mmcv's operators, which mmcv may lack.
activate()
find_moved_modules()
# OneDL's mmdet prints two lines about data sets of OneDL's own when it is
# imported. What else is printed goes to standard error: standard output is for
# results, which others may read (rfdetr-mm predict --json).
with contextlib.redirect_stdout(_WithoutLines('Could not import OneDL')):
    from . import datasets, engine, evaluation, models, registry  # noqa: E402

__all__ = [
    '__version__',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'registry',
]
