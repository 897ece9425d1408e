"""Tests run as root, whom permission bits do not bind: folders that cannot
be written are made of a file in a folder's place, full disks of an ``open``
whose files refuse to grow."""

import builtins
import dataclasses
import errno
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from file_server import Answer, file_server

from rfdetr_mm.checkpoints import download, transfer
from rfdetr_mm.errors import InputError

_CONTENT = bytes(range(256)) * 40 + b'the end'
_MD5 = hashlib.md5(_CONTENT).hexdigest()
_OTHER = _CONTENT[::-1]


with_and_without_md5 = pytest.mark.parametrize(
    'md5', [_MD5, None], ids=['md5', 'no md5']
)


@pytest.fixture
def server():
    with file_server() as server:
        server.files['/a.pth'] = _CONTENT
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The pauses between attempts, which are noted and not made."""
    waits = []
    monkeypatch.setattr(transfer, 'time', SimpleNamespace(sleep=waits.append))
    return waits


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'new' / 'cache'


def _get(server, folder, md5=_MD5):
    path = folder / 'a.pth'
    download(server.url + '/a.pth', path, md5)
    assert path.read_bytes() == server.files['/a.pth']
    assert list(folder.iterdir()) == [path]


def _part(folder):
    return folder / '.a.pth.part'


def _put_part(folder, content):
    folder.mkdir(parents=True)
    _part(folder).write_bytes(content)


def _asked(server):
    """The first byte that each request asked for."""
    return [
        int(asked.removeprefix('bytes=').rstrip('-')) if asked else 0
        for _, asked in server.requests
    ]


@with_and_without_md5
def test_a_file_arrives_in_one_request(server, folder, md5, waits, capsys):
    _get(server, folder, md5)
    assert _asked(server) == [0] and waits == []
    (line,) = capsys.readouterr().err.splitlines()
    assert f'{server.url}/a.pth' in line and str(folder / 'a.pth') in line


def test_an_existing_file_is_replaced_unless_it_is_the_one(server, folder):
    folder.mkdir(parents=True)
    (folder / 'a.pth').write_bytes(b'old')
    _get(server, folder)
    _get(server, folder)
    assert len(server.requests) == 1
    _get(server, folder, None)
    assert len(server.requests) == 2


def test_a_broken_transfer_goes_on_where_it_stopped(server, folder, waits):
    server.plan = [Answer(cut=100), Answer(cut=900)]
    _get(server, folder)
    assert _asked(server) == [0, 100, 1000]
    assert waits == [1, 2]


def test_without_an_md5_nothing_is_joined(server, folder, waits):
    server.plan = [Answer(cut=5000), Answer(cut=100)]
    _get(server, folder, None)
    assert _asked(server) == [0, 0, 0] and len(waits) == 2


def test_what_has_arrived_serves_the_next_process(server, folder):
    server.plan = [Answer(cut=100), *[Answer(status=503)] * 3]
    with pytest.raises(ConnectionError, match=r'\(0\.0 MB\) is kept'):
        _get(server, folder)
    assert _part(folder).read_bytes() == _CONTENT[:100]
    assert list(folder.iterdir()) == [_part(folder)]
    server.requests.clear()
    _get(server, folder)
    assert _asked(server) == [100]


def test_without_an_md5_a_failure_leaves_nothing(server, folder):
    server.plan = [Answer(cut=100)] * 4
    with pytest.raises(ConnectionError, match='stopped at 100 of') as error:
        _get(server, folder, None)
    assert 'kept' not in str(error.value)
    assert list(folder.iterdir()) == []
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    'answer, asked',
    [
        (Answer(knows_ranges=False), [100]),
        (Answer(knows_ranges=False, is_sized=False), [100]),
        (Answer(range_shift=7), [100, 0]),
        (Answer(range_shift=-7), [100, 0]),
        (Answer(range_shift=-100), [100]),
    ],
    ids=['200', '200 unsized', 'later', 'earlier', 'from zero'],
)
def test_servers_that_do_not_resume_send_all_again(
    server, folder, answer, asked, capsys
):
    _put_part(folder, _CONTENT[:100])
    server.plan = [answer]
    _get(server, folder)
    assert _asked(server) == asked
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize('size', [100, len(_CONTENT), len(_CONTENT) + 9])
def test_a_part_of_another_version_is_never_joined(server, folder, size):
    _put_part(folder, (_OTHER + _OTHER)[:size])
    _get(server, folder)
    assert _asked(server) == [size, 0]


def test_a_part_that_is_the_whole_file_is_taken(server, folder):
    _put_part(folder, _CONTENT)
    server.plan = [Answer(status=416)]
    _get(server, folder)
    assert len(server.requests) == 1


@pytest.mark.parametrize('size', [0, 100])
def test_wrong_content_is_refused_and_removed(server, folder, size):
    _put_part(folder, _CONTENT[:size])
    server.files['/a.pth'] = _OTHER
    found = hashlib.md5(_OTHER).hexdigest()
    with pytest.raises(InputError, match=f'MD5 {found}, expected {_MD5}'):
        _get(server, folder)
    # Only once more, and only if a part was there.
    assert _asked(server) == ([100, 0] if size else [0])
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize('status', [403, 404, 410, 416])
def test_refusals_are_final(server, folder, waits, status):
    server.plan = [Answer(status=status)]
    with pytest.raises(ConnectionError, match=f'HTTP Error {status}'):
        _get(server, folder)
    assert len(server.requests) == 1 and waits == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize('status', [429, 500, 503])
def test_busy_servers_are_asked_again(server, folder, waits, status, capsys):
    server.plan = [Answer(status=status)] * 3
    _get(server, folder)
    assert len(server.requests) == 4 and waits == [1, 2, 4]
    assert f'HTTP Error {status}' in capsys.readouterr().err
    server.plan = [Answer(status=status)] * 4
    with pytest.raises(ConnectionError, match=f'HTTP Error {status}'):
        _get(server, folder, None)


def test_no_network_is_no_reason_to_wait(folder, waits):
    path = folder / 'a.pth'
    with pytest.raises(ConnectionError) as error:
        download('http://127.0.0.1:9/a.pth', path, _MD5)
    text = str(error.value)
    for part in ('http://127.0.0.1:9/a.pth', 'refused', str(path), _MD5):
        assert part in text, part
    assert 'urlopen' not in text and '\n' not in text
    assert waits == [] and list(folder.iterdir()) == []


def test_a_network_that_was_there_may_come_back(server, folder, monkeypatch):
    answers = [transfer._UnreachableError('gone')]
    real = transfer._open

    def open_(url, start):
        if start and answers:
            raise answers.pop()
        return real(url, start)

    monkeypatch.setattr(transfer, '_open', open_)
    server.plan = [Answer(cut=100)]
    _get(server, folder)
    assert _asked(server) == [0, 100] and not answers


def test_a_silent_server_is_a_failure(server, folder, monkeypatch):
    monkeypatch.setattr(transfer, '_TIMEOUT_S', 0.2)
    gate = threading.Event()
    server.plan = [Answer(gate=gate)]
    try:
        _get(server, folder)
    finally:
        gate.set()
    assert len(server.requests) > 1


@pytest.mark.parametrize(
    'answer, message',
    [
        (b'no HTTP at all\r\n\r\n', 'no HTTP at all'),
        (b'', 'without response'),
        (
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nab',
            'IncompleteRead',
        ),
    ],
    ids=['no HTTP', 'nothing', 'cut chunk'],
)
def test_broken_http_is_a_failure(folder, answer, message):
    """Some of its errors are http.client's own and no OSError."""
    with socket.create_server(('127.0.0.1', 0)) as listener:

        def serve():
            for _ in range(4):
                connection, _ = listener.accept()
                connection.recv(1000)
                connection.sendall(answer)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        url = f'http://127.0.0.1:{listener.getsockname()[1]}/a'
        with pytest.raises(ConnectionError, match=message):
            download(url, folder / 'a.pth')
    assert list(folder.iterdir()) == []


def test_redirects_keep_the_range(server, folder):
    _put_part(folder, _CONTENT[:100])
    server.files['/b.pth'] = _CONTENT
    server.plan = [Answer(location='/b.pth')]
    _get(server, folder)
    assert server.requests == [
        ('/a.pth', 'bytes=100-'),
        ('/b.pth', 'bytes=100-'),
    ]


def test_interrupting_keeps_what_an_md5_can_check(server, folder, monkeypatch):
    def read(response):
        raise KeyboardInterrupt

    for md5, kept in ((_MD5, [_part(folder)]), (None, [])):
        _part(folder).unlink(missing_ok=True)
        if md5:
            _put_part(folder, b'x' * 100)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(transfer, '_read', read)
            _get(server, folder, md5)
        assert list(folder.iterdir()) == kept


@with_and_without_md5
def test_a_folder_that_cannot_be_written(server, tmp_path, md5):
    (tmp_path / 'file').write_text('')
    path = tmp_path / 'file' / 'cache' / 'a.pth'
    with pytest.raises(OSError, match='cannot be saved in') as error:
        download(server.url + '/a.pth', path, md5, 'buy a new disk')
    for part in (str(path.parent), 'or buy a new disk.', 'Not a directory'):
        assert part in str(error.value), part
    assert not isinstance(error.value, ConnectionError)
    assert server.requests == []


class _FullDisk:
    """Stands for ``open``: its binary files take 1000 bytes."""

    def __init__(self):
        self.real = builtins.open

    def __call__(self, *args, **kwargs):
        file = self.real(*args, **kwargs)
        return _FullFile(file) if 'b' in file.mode else file


class _FullFile:
    def __init__(self, file):
        self.file = file
        self.space = 1000

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()

    def write(self, data):
        self.file.write(data[: self.space])
        self.space -= len(data)
        if self.space < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@with_and_without_md5
def test_a_full_disk(server, folder, monkeypatch, md5, waits):
    with monkeypatch.context() as patch:
        patch.setattr(builtins, 'open', _FullDisk())
        with pytest.raises(OSError, match='No space left') as error:
            _get(server, folder, md5)
    assert 'enough space' in str(error.value) and waits == []
    assert not isinstance(error.value, ConnectionError)
    assert ('kept for another try' in str(error.value)) == bool(md5)
    left = list(folder.iterdir())
    assert left == ([_part(folder)] if md5 else [])
    server.requests.clear()
    _get(server, folder, md5)
    assert _asked(server) == [1000 if md5 else 0]


def _until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize(
    'first, asked',
    [
        ([Answer()], [0]),
        ([Answer(cut=100), Answer(status=404)], [0, 100, 100]),
        ([Answer(status=404)], [0, 0]),  # no part is left
    ],
    ids=['succeeds', 'breaks', 'fails'],
)
def test_who_wants_the_same_file_waits_for_the_first(
    server, folder, monkeypatch, first, asked
):
    """Threads stand for processes: a lock belongs to the opened file."""
    said, results, gate = [], [], threading.Event()
    monkeypatch.setattr(transfer, '_say', said.append)
    server.plan = [dataclasses.replace(first[0], gate=gate), *first[1:]]

    def get():
        try:
            results.append(download(server.url + '/a.pth', path, _MD5))
        except ConnectionError as error:
            results.append(str(error))

    path = folder / 'a.pth'
    threads = [threading.Thread(target=get) for _ in range(3)]
    for thread in threads:
        thread.start()
    _until(lambda: sum('waiting for it' in text for text in said) == 2)
    gate.set()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == _CONTENT
    assert list(folder.iterdir()) == [path]
    assert len(results) == 3
    assert results.count(None) == (3 if len(asked) == 1 else 2)
    assert _asked(server) == asked


def test_a_killed_owner_leaves_no_lock(server, folder, monkeypatch):
    _put_part(folder, _CONTENT[:100])
    code = (
        'import fcntl, sys, time; file = open(sys.argv[1], "a+b"); '
        'fcntl.flock(file, fcntl.LOCK_EX); print("locked", flush=True); '
        'time.sleep(60)'
    )
    owner = subprocess.Popen(
        [sys.executable, '-c', code, str(_part(folder))],
        stdout=subprocess.PIPE,
    )
    assert owner.stdout.readline() == b'locked\n'
    said = []
    monkeypatch.setattr(transfer, '_say', said.append)
    thread = threading.Thread(target=_get, args=(server, folder))
    thread.start()
    _until(lambda: said)
    assert 'waiting for it' in said[0] and server.requests == []
    owner.kill()
    owner.communicate()
    thread.join()
    assert _asked(server) == [100]
    assert (folder / 'a.pth').read_bytes() == _CONTENT


@pytest.mark.parametrize('kind', ['Windows', 'a network file system'])
def test_without_locks_nothing_is_kept(server, folder, monkeypatch, kind):
    class NoLocks:
        LOCK_EX, LOCK_NB = 2, 4

        @staticmethod
        def flock(file, operation):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    is_windows = kind == 'Windows'
    monkeypatch.setattr(transfer, 'fcntl', None if is_windows else NoLocks)
    server.plan = [Answer(cut=100), Answer(status=404)]
    with pytest.raises(ConnectionError) as error:
        _get(server, folder)
    assert 'kept' not in str(error.value)
    assert list(folder.iterdir()) == []
    server.requests.clear()
    server.plan = [Answer(cut=100)]
    _get(server, folder)
    assert _asked(server) == [0, 100]
