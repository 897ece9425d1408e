"""Which names are those of exported files, and which of them are there."""

import pytest

from rfdetr_mm_light.exported_files import is_exported, is_there


@pytest.mark.parametrize(
    'name, exported',
    [
        ('a.onnx', True),
        ('folder/A.ONNX', True),
        ('a.ncnn', True),
        ('a.ncnn/', True),
        ('a.pth', False),
        ('a.onnx.json', False),
        ('https://a.b/', False),
        ('', False),
    ],
)
def test_names(name, exported):
    assert is_exported(name) is exported


def test_folders_that_stand_for_files(tmp_path):
    for name in ('a.ncnn', 'a.mlpackage', 'a.onnx', 'a'):
        (tmp_path / name).mkdir()
    (tmp_path / 'b.onnx').touch()
    found = {
        name: is_there(tmp_path / name)
        for name in ('a.ncnn', 'a.mlpackage', 'a.onnx', 'a', 'b.onnx', 'c.pte')
    }
    assert {name for name, there in found.items() if there} == {
        'a.ncnn',
        'a.mlpackage',
        'b.onnx',
    }
    assert is_there(f'{tmp_path}/a.ncnn/')
