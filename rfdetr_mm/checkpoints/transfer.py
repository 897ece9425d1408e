"""Download a file: whole, checked, resumed, by one process at a time."""

import contextlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.files import atomic_file, file_md5

from .progress import TransferProgress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TIMEOUT_S = 60
_CHUNK_BYTES = 1 << 20
_WAITS_S = (1, 2, 4)
_BUSY_STATUSES = (408, 425, 429, 500, 502, 503, 504)
_RANGE_NOT_SATISFIABLE = 416


class _TransferError(Exception):
    """The network or the server has failed; another try may succeed."""


class _UnreachableError(_TransferError):
    """There is no connection, most likely because there is no network."""


class _RefusedError(_TransferError):
    """The server has answered that it does not give the file."""


def download(
    url: str,
    path: str | os.PathLike[str],
    md5: str | None = None,
    way_out: str = 'choose another folder',
) -> None:
    """Download a file; afterwards ``path`` is complete or not there.

    Broken transfers are tried again a few times. With an MD5, what has
    arrived is kept beside ``path`` and the next try, also of a later process,
    goes on from there; the MD5 tells if parts of two versions were joined,
    and then the file is fetched once more from its beginning. Without an MD5
    nothing would tell, so nothing is kept. Processes that want the same file
    at once wait for the first one, where the file system has locks.

    Args:
        url: Web address.
        path: Where to put it. Its folder is made.
        md5: Expected MD5, not checked if None.
        way_out: What the user can do if the folder cannot be written, the
            end of a sentence.

    Raises:
        ConnectionError: If the transfer fails.
        InputError: If what arrived has another MD5.
        OSError: If the folder cannot be written or the disk is full.
    """
    path = Path(path)
    part = _part_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open_locked(part) if md5 else None
        if file is None:
            with atomic_file(path) as file:
                _fetch(url, file, md5, path)
        else:
            with file:
                _fetch_unless_there(url, file, md5, path)
    except _TransferError as error:
        raise ConnectionError(
            f'{url} could not be downloaded: {error}. {_kept(part)}'
            'Without a network, get the file elsewhere and put it at '
            f'{path}' + (f' (its MD5 is {md5}).' if md5 else '.')
        ) from error
    except OSError as error:
        raise OSError(
            f'{url} cannot be saved in {path.parent}: {error}. '
            f'{_kept(part)}Make it a folder that can be written, with '
            f'enough space, or {way_out}.'
        ) from error


def _kept(part: Path) -> str:
    size = _size(part)
    if size == 0:
        return ''
    return f'What has arrived ({size / 1e6:.1f} MB) is kept for another try. '


def _part_path(path: Path) -> Path:
    return path.with_name(f'.{path.name}.part')


def _open_locked(part: Path) -> BinaryIO | None:
    """Open the part of a file that has arrived, for this process alone.

    The kernel releases the lock when its owner ends, however it ends.

    Returns:
        The file; None if there are no locks here.
    """
    if fcntl is None:
        return None
    while True:
        file = open(part, 'a+b')
        try:
            _lock(file)
        except OSError:  # network file systems without locks
            file.close()
            if _size(part) == 0:
                part.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(part)):
                return file
        # The owner has meanwhile moved or removed what was opened.
        file.close()


def _lock(file: BinaryIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say(f'Another process is downloading {file.name}, waiting for it')
        fcntl.flock(file, fcntl.LOCK_EX)


def _fetch_unless_there(
    url: str, file: BinaryIO, md5: str, path: Path
) -> None:
    """Complete the locked part and move it to ``path``."""
    part = Path(file.name)
    try:
        # Who has waited for the lock finds the work done.
        if not (path.is_file() and file_md5(path) == md5):
            _fetch(url, file, md5, path)
            os.replace(part, path)
    finally:
        if _size(part) == 0:
            part.unlink(missing_ok=True)


def _fetch(url: str, file: BinaryIO, md5: str | None, path: Path) -> None:
    """Fill a file, which may hold the beginning, and check it."""
    _say(f'Downloading {url} to {path}')
    is_joined = _transfer(url, file, md5 is not None)
    if md5 is None:
        return
    if is_joined and file_md5(file.name) != md5:
        _say('The parts do not belong together, starting again')
        _cut(file, 0)
        _transfer(url, file, True)
    found = file_md5(file.name)
    if found != md5:
        _cut(file, 0)
        raise InputError(
            f'What arrived from {url} has the MD5 {found}, expected {md5}. '
            'Try again; if it repeats, something between here and there '
            'changes it.'
        )


def _transfer(url: str, file: BinaryIO, can_resume: bool) -> bool:
    """Try until the file is there.

    Returns:
        Whether it may be put together from several answers of the server.

    Raises:
        _TransferError: If it did not succeed.
    """
    is_joined = False
    attempt = 0
    while True:
        start = file.seek(0, os.SEEK_END) if can_resume else 0
        is_joined |= start > 0
        try:
            _receive(url, file, start)
            return is_joined
        except _TransferError as error:
            # Without a network there is no use in waiting; once there was
            # an answer, a lost connection may come back.
            is_final = isinstance(error, _RefusedError) or (
                isinstance(error, _UnreachableError) and attempt == 0
            )
            if is_final or attempt == len(_WAITS_S):
                raise
            _say(f'{error}; trying again in {_WAITS_S[attempt]} s')
        time.sleep(_WAITS_S[attempt])
        attempt += 1


def _receive(url: str, file: BinaryIO, start: int) -> None:
    """Put what is missing after the first ``start`` bytes into the file.

    Raises:
        _TransferError: If it breaks; the file then holds what has arrived.
    """
    response = _open(url, start)
    if response is None:
        return
    with response:
        if response.status == http.client.PARTIAL_CONTENT:
            sent_from, total = _content_range(response)
        else:  # Servers need not know ranges.
            sent_from, total = 0, response.length
        if sent_from in (0, start):
            _cut(file, sent_from)
            received = _copy(response, file, sent_from, total)
        elif start:
            return _receive(url, file, 0)
        else:
            raise _TransferError('the server sent another part of the file')
    if total is not None and received != total:
        raise _TransferError(
            f'the transfer stopped at {received} of {total} bytes'
        )


def _open(url: str, start: int) -> http.client.HTTPResponse | None:
    """Send the request; None if there is nothing after ``start``."""
    request = urllib.request.Request(url)
    if start:
        request.add_header('Range', f'bytes={start}-')
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == _RANGE_NOT_SATISFIABLE:
            return None
        if error.code in _BUSY_STATUSES:
            raise _TransferError(str(error)) from error
        raise _RefusedError(str(error)) from error
    except urllib.error.URLError as error:
        raise _UnreachableError(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _TransferError(str(error) or type(error).__name__) from error


def _content_range(
    response: http.client.HTTPResponse,
) -> tuple[int | None, int | None]:
    """Return first byte and size of the file; None for what is not said."""
    field = response.headers.get('Content-Range', '')
    match = re.fullmatch(r'bytes (\d+)-\d+/(\d+|\*)', field.strip())
    if match is None:
        return None, None
    return int(match[1]), None if match[2] == '*' else int(match[2])


def _copy(
    response: http.client.HTTPResponse,
    file: BinaryIO,
    start: int,
    total: int | None,
) -> int:
    """Append the answer; return the size of the file."""
    received = start
    progress = TransferProgress(total, start)
    try:
        while chunk := _read(response):
            file.write(chunk)
            received += len(chunk)
            progress.show(received)
    finally:
        progress.close()
        file.flush()
    return received


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _TransferError(str(error) or type(error).__name__) from error


def _cut(file: BinaryIO, size: int) -> None:
    """Keep the first ``size`` bytes and go to their end."""
    file.seek(size)
    file.truncate()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
