"""RF-DETR as a native plugin of MMDetection.

``import rfdetr_mm`` registers everything into mmdet's own registries.
"""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator

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


@contextlib.contextmanager
def _errors_only(name: str) -> Iterator[None]:
    """Show nothing but errors of a logger."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


# Before anything imports mmcv's operators, which mmcv may lack.
activate()
find_moved_modules()
# OneDL's mmdet prints two lines about data sets of OneDL's own when it is
# imported. What else is printed goes to standard error: standard output is for
# results, which others may read (rfdetr-mm predict --json). mmdet imports
# transformers, that torchao, and torch warns of how torchao is written.
with (
    contextlib.redirect_stdout(_WithoutLines('Could not import OneDL')),
    _errors_only('torch.utils._pytree'),
):
    from . import datasets, engine, evaluation, models, registry  # noqa: E402

__all__ = [
    '__version__',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'registry',
]
