"""What exported files say, whatever their kind, without their runtimes."""

import json

import pytest
from toy_onnx import FACTS, write_toy

from rfdetr_mm.errors import InputError
from rfdetr_runtime.metadata import read_metadata, side_file


def test_onnx_has_what_was_written(tmp_path):
    onnx = pytest.importorskip('onnx')
    file = write_toy(tmp_path / 'a.onnx')
    texts = read_metadata(file)
    assert set(texts) == set(FACTS)
    assert json.loads(texts['class_names']) == FACTS['class_names']
    # Umlauts, an empty text, and one longer than a byte can count.
    model = onnx.load(str(file))
    props = {'ä': 'ö', 'empty': '', 'long': 'x' * 70000}
    onnx.helper.set_model_props(model, props)
    onnx.save(model, str(file))
    assert read_metadata(file) == props


@pytest.mark.parametrize('size', [0, 1, 9, 40, -1])
def test_a_part_of_an_onnx_file_is_refused(tmp_path, size):
    file = write_toy(tmp_path / 'a.onnx', facts={})
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(InputError, match='cannot be read as an ONNX file'):
        read_metadata(file)


@pytest.mark.parametrize(
    'name, message',
    [
        ('a.onnx', 'cannot be read as an ONNX'),
        ('a.xml', 'cannot be read as an OpenVINO'),
        ('a.tflite', 'is not a TFLite file'),
        ('a.pte', 'is not an ExecuTorch file'),
    ],
)
def test_files_that_are_none_are_refused(tmp_path, name, message):
    path = tmp_path / name
    with pytest.raises(InputError, match='there is no exported file'):
        read_metadata(path)
    path.write_bytes(b'no model at all')
    with pytest.raises(InputError, match=message):
        read_metadata(path)


def test_a_folder_of_ncnn(tmp_path):
    path = tmp_path / 'a.ncnn'
    path.mkdir()
    with pytest.raises(InputError, match='a.ncnn is not .*no metadata.json'):
        read_metadata(path)
    (path / 'metadata.json').write_text('{"layout": "raw"}')
    assert read_metadata(path) == dict(layout='raw')
    (path / 'metadata.json').write_text('{')
    with pytest.raises(InputError, match='metadata that cannot be read'):
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


def test_the_file_beside_an_engine(tmp_path):
    path = tmp_path / 'a.engine'
    path.write_bytes(b'engine')
    assert read_metadata(path) == {}
    assert side_file(path) == tmp_path / 'a.engine.json'
    side_file(path).write_text('{"layout": "raw"}')
    assert read_metadata(path) == dict(layout='raw')
    for content, message in (('{', 'cannot be read'), ('[1]', 'not a table')):
        side_file(path).write_text(content)
        with pytest.raises(InputError, match=message):
            read_metadata(path)


def test_other_kinds_have_none(tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(b'checkpoint')
    assert read_metadata(path) == {}


@pytest.mark.parametrize('edges', ['<edges>\n\t</edges>', '<edges />', ''])
def test_openvino_texts_stand_behind_the_layers(tmp_path, edges):
    layer = '<layer><rt_info><rfdetr_mm><a value="1"/></rfdetr_mm></rt_info>'
    texts = '<rt_info><rfdetr_mm><b value="&lt;2"/></rfdetr_mm></rt_info>'
    whole = f'<?xml version="1.0"?>\n<net><layers>{layer}</layer></layers>'
    whole += f'{edges}{texts}</net>\n'
    path = tmp_path / 'a.xml'
    path.write_text(whole)
    assert read_metadata(path) == dict(b='<2')
    path.write_text(whole.replace(texts, ''))
    assert read_metadata(path) == {}
    for cut in (len(whole) - 3, len(whole) - 30, 50, 1):
        path.write_text(whole[:cut])
        with pytest.raises(InputError, match='as an OpenVINO model'):
            read_metadata(path)
