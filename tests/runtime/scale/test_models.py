"""The hash of a model that workers must have alike."""

import hashlib

import pytest

from rfdetr_runtime.scale.models import file_sha256


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    'name, beside, expected',
    [
        ('a.onnx', {'a.bin': b'other'}, b'model'),
        ('a.xml', {'a.bin': b'weights'}, b'modelweights'),
    ],
)
def test_files(tmp_path, name, beside, expected):
    (tmp_path / name).write_bytes(b'model')
    for other, content in beside.items():
        (tmp_path / other).write_bytes(content)
    assert file_sha256(tmp_path / name) == sha256(expected)


def test_a_folder_that_stands_for_a_file(tmp_path):
    """Of all files in it, in an order that no file system changes."""
    folder = tmp_path / 'a.ncnn'
    folder.mkdir()
    for name in ('c', 'a', 'b'):
        (folder / name).write_bytes(name.encode())
    assert file_sha256(folder) == sha256(b'abc')
    (folder / 'b').write_bytes(b'B')
    assert file_sha256(folder) == sha256(b'aBc')
