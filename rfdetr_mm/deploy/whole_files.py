"""Exported files appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_files(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder whose files are moved into another at the end.

    For what writes several files, or insists on writing by itself; else
    :func:`rfdetr_mm.checkpoints.atomic_file` does. If the block fails,
    nothing of it is left, and older files of the same names stay as they are.
    Folders are moved as files are.

    Args:
        folder: Where the files go; it is made.

    Yields:
        A temporary folder beside them, so that moving is renaming.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix='.unfinished-', dir=folder
    ) as unfinished:
        yield Path(unfinished)
        for path in sorted(Path(unfinished).iterdir()):
            target = folder / path.name
            if path.is_dir() and target.is_dir():
                shutil.rmtree(target)  # a folder replaces an empty one only
            os.replace(path, target)
