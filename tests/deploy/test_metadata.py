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
    with pytest.raises(InputError, match='cannot be read|is no TFLite'):
        read_metadata(path)


def test_other_kinds_have_none(tmp_path):
    path = tmp_path / 'a.engine'
    path.write_bytes(b'engine')
    assert read_metadata(path) == {}
