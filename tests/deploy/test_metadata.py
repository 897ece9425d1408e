"""What exported files say, whatever their kind."""

import pytest

from rfdetr_mm.deploy.metadata import read_metadata
from rfdetr_mm.errors import InputError


@pytest.mark.parametrize('name', ['a.xml', 'a.tflite'])
def test_files_that_are_none_are_refused(tmp_path, name):
    if name == 'a.tflite':
        pytest.importorskip('ai_edge_litert')
    path = tmp_path / name
    with pytest.raises(InputError, match='there is no exported file'):
        read_metadata(path)
    path.write_bytes(b'no model at all')
    with pytest.raises(InputError, match='cannot be read|is not a TFLite'):
        read_metadata(path)


def test_a_missing_file_and_its_neighbours(tmp_path):
    missing = tmp_path / 'end2end_int8.onnx'
    with pytest.raises(InputError, match=f'those in {tmp_path}: none'):
        read_metadata(missing)
    for name in ('end2end_int8-dynamic.onnx', 'end2end.xml', 'end2end.bin'):
        (tmp_path / name).touch()
    neighbours = 'end2end.xml, end2end_int8-dynamic.onnx$'
    with pytest.raises(InputError, match=f'{missing} .*: {neighbours}'):
        read_metadata(missing)
    with pytest.raises(InputError, match=f'no folder {tmp_path}/no either'):
        read_metadata(tmp_path / 'no/end2end.onnx')


def test_other_kinds_have_none(tmp_path):
    path = tmp_path / 'a.engine'
    path.write_bytes(b'engine')
    assert read_metadata(path) == {}
