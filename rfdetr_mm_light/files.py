"""Files that appear whole, and what tells one content from another."""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import InputError

_CHUNK_BYTES = 1 << 20


def add_file(digest: Any, path: str | os.PathLike[str]) -> None:
    """Add the content of a file to a hash.

    Args:
        digest: An object of ``hashlib``; changed.
        path: The file, which is read in pieces.
    """
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)


def file_md5(path: str | os.PathLike[str]) -> str:
    """Return the MD5 of a file as 32 hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    add_file(digest, path)
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


def check_writable(
    folder: str | os.PathLike[str],
    name: str = 'the folder for results',
    way_out: str = 'choose another one (--out-dir, --output-dir, --json)',
) -> None:
    """Complain now about a folder that nothing can be written to.

    Args:
        folder: The folder; made if it is missing.
        name: What the message calls it.
        way_out: How another one is chosen.

    Raises:
        InputError: If nothing can be written to it, or its name is empty,
            which would be the current folder.
    """
    if not os.fspath(folder):
        raise InputError(f'{name} must be a path, got an empty text')
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b'x')
    except OSError as error:
        raise InputError(
            f'nothing can be written to {name} {folder} ({error.strerror}); '
            f'{way_out}'
        ) from error


@contextlib.contextmanager
def exclusive_file(
    path: str | os.PathLike[str], message: str
) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends.

    Args:
        path: The file of the lock; it is removed afterwards.
        message: What is wrong if another process holds it.

    Raises:
        InputError: If another process holds it.
    """
    # Not on Windows, where other modules of this package are imported, too.
    import fcntl

    with open(path, 'wb') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(message) from error
        try:
            yield
        finally:
            os.unlink(lock.name)
