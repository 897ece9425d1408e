"""AtomicBackend: a file is the old one or the new one."""

import errno
import os
import resource
import signal

import pytest
from mmengine.fileio import get_file_backend

from rfdetr_mm.engine.atomic_backend import AtomicBackend, name_as_well


@pytest.fixture
def backend():
    return get_file_backend('a.pth', backend_args=dict(backend='atomic'))


def test_is_registered_and_writes(backend, tmp_path):
    assert isinstance(backend, AtomicBackend)
    path = tmp_path / 'new' / 'a.pth'
    backend.put(b'one', path)
    backend.put_text('zwölf', str(path.with_name('b')))
    assert path.read_bytes() == b'one'
    assert path.with_name('b').read_text(encoding='utf-8') == 'zwölf'
    backend.put(b'two', path)
    assert path.read_bytes() == b'two'
    assert sorted(p.name for p in path.parent.iterdir()) == ['a.pth', 'b']


def test_the_old_file_stays_if_the_new_one_does_not_fit(backend, tmp_path):
    path = tmp_path / 'a.pth'
    backend.put(b'old', path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError) as raised:
            backend.put(b'new' * 1000, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert raised.value.errno == errno.EFBIG
    assert path.read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth']


def test_a_folder_that_cannot_be_made(backend, tmp_path):
    (tmp_path / 'file').write_text('not a folder')
    with pytest.raises(OSError):
        backend.put(b'new', tmp_path / 'file' / 'a.pth')


@pytest.mark.parametrize('links', [True, False])
def test_a_second_name(tmp_path, monkeypatch, links):
    if not links:  # as on FAT, or on some network drives

        def no_link(*paths):
            raise OSError('no links here')

        monkeypatch.setattr(os, 'link', no_link)
    old, new, best = (tmp_path / n for n in ('1.pth', '2.pth', 'best.pth'))
    old.write_bytes(b'old')
    name_as_well(old, best)
    name_as_well(old, best)
    assert best.read_bytes() == b'old' and best.samefile(old) == links
    new.write_bytes(b'new')
    name_as_well(new, best)
    old.unlink()
    assert best.read_bytes() == b'new'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['2.pth', 'best.pth']


def test_a_second_name_on_a_full_disk(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, 'No space left on device')

    for name in ('link', 'fsync'):
        monkeypatch.setattr(os, name, full)
    new, best = tmp_path / '2.pth', tmp_path / 'best.pth'
    best.write_bytes(b'old')
    new.write_bytes(b'new')
    with pytest.raises(OSError, match='No space'):
        name_as_well(new, best)
    assert best.read_bytes() == b'old'
    assert not list(tmp_path.glob('*.incomplete'))
