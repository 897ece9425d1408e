"""No garbage collection while a large file is read."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause Python's search for circles of garbage.

    It looks at all objects again whenever their number has grown by a
    quarter, which takes most of the time of reading a million annotations.
    These hold no circles: what is no longer used is freed at once.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
