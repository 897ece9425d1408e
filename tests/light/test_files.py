import hashlib

import pytest

from rfdetr_mm_light.errors import InputError
from rfdetr_mm_light.files import atomic_file, check_writable, file_md5


@pytest.mark.parametrize('size', [0, 1, 1 << 20, (1 << 21) + 3])
def test_md5_of_files_below_and_above_one_chunk(tmp_path, size):
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    (tmp_path / 'a').write_bytes(content)
    expected = hashlib.md5(content).hexdigest()
    assert file_md5(tmp_path / 'a') == expected


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / 'folder' / 'a.pth'
    with atomic_file(path) as file:
        file.write(b'new')
        assert not path.exists()
    assert path.read_bytes() == b'new'
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_a_broken_write_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / 'a.pth'
    path.write_bytes(b'old')
    with pytest.raises(error), atomic_file(path) as file:
        file.write(b'new')
        raise error
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_folders_that_can_be_written_to(tmp_path):
    check_writable(tmp_path / 'new' / 'folder')
    assert not list((tmp_path / 'new/folder').iterdir())
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='nothing .* to the folder .*file'):
        check_writable(tmp_path / 'file')
    with pytest.raises(InputError, match='must be a path, got an empty text'):
        check_writable('')
