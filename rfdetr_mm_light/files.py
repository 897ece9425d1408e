"""Files that appear whole, and what tells one content from another."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 20


def file_md5(path: str | os.PathLike[str]) -> str:
    """Return the MD5 of a file as 32 hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write a file that appears complete or not at all.

    Args:
        path: The file. Its folder is made; an existing file is replaced.

    Yields:
        A file to write to, in the same folder. It is removed on any error.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}-{time.time_ns()}.part')
    try:
        with open(part, 'xb') as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
