"""export() of a live model: the file is the model, which stays as it is."""

import inspect
import itertools
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rfdetr_runtime
from rfdetr_mm.apis import RFDETRNano, RFDETRTiny
from rfdetr_mm.apis.export_request import (
    FORMATS,
    ExportRequest,
    settle_precision,
    warn_of_unused,
)
from rfdetr_mm.apis.exporting import calibration_batches
from rfdetr_mm.apis.images import load_image, make_batch
from rfdetr_mm.apis.in_process import RawDetector
from rfdetr_mm.checkpoints import weights_md5
from rfdetr_mm.errors import InputError

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
SHAPE = (64, 96)  # (h, w)


@pytest.fixture(scope='module')
def tiny():
    torch.manual_seed(0)
    model = RFDETRTiny(
        pretrain_weights=None,
        device='cpu',
        num_classes=3,
        num_queries=9,
        group_detr=2,
        dec_layers=1,
        resolution=64,
    )
    for parameter in model.model.model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.03)
    return model


@pytest.fixture(autouse=True)
def unchanged(tiny):
    """In every test, the model stays as it is."""
    state = tiny.model.model.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    config = tiny.model.cfg.to_dict()
    yield
    after = tiny.model.model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert tiny.model.cfg.to_dict() == config
    assert not tiny.model.model.training


def batch(tiny):
    preprocessor = tiny.model.model.data_preprocessor
    return make_batch(
        [load_image(IMAGE, 3, False)],
        SHAPE,
        preprocessor.mean / 255,
        preprocessor.std / 255,
    )


def test_onnx(tiny, tmp_path):
    pytest.importorskip('mmdeploy')
    onnxruntime = pytest.importorskip('onnxruntime')
    path = tiny.export(tmp_path, shape=SHAPE, verbose=False, layout='raw')
    assert [file.name for file in tmp_path.iterdir()] == ['rfdetr-tiny.onnx']
    session = onnxruntime.InferenceSession(str(path))
    assert [i.name for i in session.get_inputs()] == ['input']
    assert [o.name for o in session.get_outputs()] == ['dets', 'labels']
    boxes, logits = session.run(None, {'input': batch(tiny).numpy()})
    with torch.no_grad():
        expected = RawDetector(tiny.model.model)(batch(tiny))
    np.testing.assert_allclose(boxes, expected[0], atol=1e-5)
    # Upstream's files have a spare class, the last one.
    assert logits.shape == (1, 9, 4)
    np.testing.assert_allclose(logits[..., :3], expected[1], atol=1e-4)


def test_three_lines_use_a_file(tiny, tmp_path):
    pytest.importorskip('mmdeploy')
    pytest.importorskip('onnxruntime')
    path = tiny.export(tmp_path, shape=SHAPE, verbose=False)
    model = rfdetr_runtime.load(path)
    assert model.facts.layout == 'end2end' and model.input_hw == SHAPE
    found = model.predict(IMAGE, threshold=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        expected = tiny.predict(IMAGE, threshold=0.0, shape=SHAPE)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=0.01)
    np.testing.assert_allclose(
        found.confidence, expected.confidence, atol=1e-5
    )
    assert found.class_id.tolist() == expected.class_id.tolist()
    for name in ('class_name', 'source_shape'):
        assert (found.data[name] == expected.data[name]).all()


def test_names_notes_and_provenance(tiny, tmp_path):
    pytest.importorskip('mmdeploy')
    notes = {'run': 7, 'by': 'ä'}
    path = tiny.export(
        tmp_path,
        shape=SHAPE,
        verbose=False,
        output_name='mine',
        notes=notes,
        quantization='fp16',
    )
    assert [file.name for file in tmp_path.iterdir()] == ['mine.onnx']
    facts = rfdetr_runtime.read_metadata(path)
    assert json.loads(facts['rfdetr_notes']) == notes
    assert facts['weights_md5'] == weights_md5(tiny.model.model.state_dict())
    assert facts['torch_version'] == torch.__version__
    assert facts['command'] and facts['precision'] == 'fp16'


def test_upstreams_arguments_in_upstreams_order():
    ours = list(inspect.signature(RFDETRNano.export).parameters.values())
    rfdetr = pytest.importorskip('rfdetr')
    theirs = inspect.signature(rfdetr.RFDETRNano.export).parameters.values()
    assert [(p.name, p.kind) for p in theirs] == [
        (p.name, p.kind) for p in ours[: len(theirs)]
    ]
    assert {p.name: p.default for p in theirs} == {
        p.name: p.default for p in ours[: len(theirs)]
    }


@pytest.mark.parametrize(
    'given, expected',
    [
        (('tensorrt', None, True, None), 'fp16'),
        (('trt', None, False, None), None),
        (('trt', 'int8', True, None), 'int8'),
        (('onnx', None, True, 'float16'), None),
        (('openvino', None, True, None), None),
        (('openvino', None, True, 'float16'), 'fp16'),
        (('openvino', 'fp32', True, 'float32'), 'fp32'),
        (('coreml', None, True, None, 'float16'), 'fp16'),
        (('coreml', None, True, 'float16', None), None),
        (('onnx', None, True, None, 'float16'), None),
    ],
)
def test_one_word_for_precision(given, expected):
    assert settle_precision(*given) == expected


def test_arguments_of_other_formats_get_a_warning(recwarn):
    given = dict(backend=None, soc='SM8650', openvino_precision='float16')
    warn_of_unused('openvino', **given)
    warn_of_unused('trt', max_batch_size=4)
    (warning,) = recwarn.list
    assert "soc='SM8650' has no effect with format='openvino'" in str(
        warning.message
    )


@pytest.mark.slow
def test_backbone(tiny, tmp_path):
    pytest.importorskip('mmdeploy')
    onnxruntime = pytest.importorskip('onnxruntime')
    path = tiny.export(
        tmp_path, backbone_only=True, shape=SHAPE, verbose=False
    )
    assert path.name == 'rfdetr-tiny-backbone.onnx'
    session = onnxruntime.InferenceSession(str(path))
    assert [o.name for o in session.get_outputs()] == ['features']
    (features,) = session.run(None, {'input': batch(tiny).numpy()})
    with torch.no_grad():
        (expected,) = tiny.model.model.extract_feat(batch(tiny))
    np.testing.assert_allclose(features, expected, atol=1e-4)


@pytest.mark.slow
def test_openvino(tiny, tmp_path):
    pytest.importorskip('mmdeploy')
    openvino = pytest.importorskip('openvino')
    path = tiny.export(
        tmp_path, format='openvino', shape=SHAPE, verbose=False, layout='raw'
    )
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {'rfdetr-tiny.xml', 'rfdetr-tiny.bin'}
    # Without it, bfloat16 on a CPU that has it.
    options = dict(INFERENCE_PRECISION_HINT='f32')
    model = openvino.Core().compile_model(str(path), 'CPU', options)
    boxes = model([batch(tiny).numpy()])[0]
    with torch.no_grad():
        expected = RawDetector(tiny.model.model)(batch(tiny))
    np.testing.assert_allclose(boxes, expected[0], atol=1e-3)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(format='coreai'), 'format must be one of onnx, tflite'),
        (
            dict(format='coreml', coreml_precision='int8'),
            'coreml_precision must be one of float32, float16 and agree',
        ),
        (dict(format='coreml', dynamic_batch=True), 'no dynamic_batch'),
        (dict(format='ncnn', batch_size=2), 'at a time, got batch_size=2'),
        (dict(format='ncnn', backbone_only=True), 'no backbone_only'),
        (dict(format='pte', backend='qnn'), "any CPU, got 'qnn'"),
        (dict(format='executorch', soc='SM8650'), "got soc='SM8650': leave"),
        (dict(format='pte', quantization='fp16'), "'pte' has no quantizati"),
        (
            dict(format='pte', quantization='int8', calibration_data='x'),
            'quantises activations while it runs, got calibration_data',
        ),
        (dict(format='pte', dynamic_batch=True), "'pte' has no dynamic_bat"),
        (dict(format=['onnx']), r'format must .*got \[.onnx.\]'),
        (dict(quantization='int4'), 'onnx. has no quantization=.int4.: onnx'),
        (dict(quantization='bf16'), 'onnx has fp32, fp16, int8; tflite has '),
        (dict(format='openvino', quantization='int8'), 'needs calibration_'),
        (dict(inference_precision='fp16'), "f32, bf16, f16, got 'fp16'"),
        (
            dict(format='tflite', dynamic_batch=True),
            'no dynamic_batch: give b',
        ),
        (dict(format='trt', quantization='int8'), 'needs calibration_data'),
        (dict(calibration_data=[1, 2]), r'a folder of .*, got \[1, 2\]'),
        (dict(calibration_data=''), "a folder of .*, got ''"),
        (dict(calibration_data='', quantization='int8'), "of .*, got ''"),
        (dict(shape=(64, 65)), 'multiple of patch_size'),
        (dict(patch_size=14), "not the model's"),
        (dict(output_name='a/b'), "name of a file .*, got 'a/b'"),
        (dict(max_batch_size=0, format='trt'), 'at least batch_size=1'),
        (dict(notes={1, 2}), 'notes must be a text or what JSON'),
        (
            dict(format='openvino', openvino_precision='int8'),
            'one of float32, float16 and agree',
        ),
        (
            dict(
                format='openvino',
                openvino_precision='float32',
                quantization='fp16',
            ),
            'agree with quantization',
        ),
        (dict(layout='nms'), "layout must be one of end2end, raw, got 'nms'"),
        (dict(batch_size=0), 'batch_size'),
        (dict(max_images=0), 'max_images must be a positive integer'),
        (dict(opset_version=11), '16 at least'),
    ],
)
def test_bad_arguments(tiny, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        tiny.export(tmp_path / 'out', **arguments)
    assert not (tmp_path / 'out').exists()


def test_a_failing_export_leaves_nothing(tiny, tmp_path, monkeypatch):
    pytest.importorskip('mmdeploy')
    from rfdetr_mm.deploy import export as module

    monkeypatch.setattr(module, 'write_graph', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tiny.export(tmp_path, verbose=False)
    assert not list(tmp_path.iterdir())


def test_deprecated_arguments_warn(tiny, tmp_path):
    for name in ('simplify', 'force'):
        with pytest.warns(DeprecationWarning, match=f'{name} is deprecated'):
            with pytest.raises(InputError):
                tiny.export(tmp_path, format='?', **{name: True})


def test_tensorrt(tiny, tmp_path, monkeypatch):
    """It is made on a GPU, by a package that is named."""
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    with pytest.raises(ImportError, match='pip install.* tensorrt'):
        tiny.export(tmp_path / 'out', format='tensorrt')
    monkeypatch.setitem(sys.modules, 'tensorrt', sys)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(InputError, match="NVIDIA GPU.*format='onnx'"):
        tiny.export(tmp_path / 'out', format='trt')
    devices = []

    def export(*args, device, **kwargs):
        devices.append(device)
        raise InputError('seen')

    monkeypatch.setattr('rfdetr_mm.deploy.export.export', export)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    for name in ('onnx', 'tensorrt'):
        with pytest.raises(InputError, match='seen'):
            tiny.export(tmp_path / 'out', format=name)
    assert devices == ['cpu', 'cuda:0']


def test_without_mmdeploy(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rfdetr_mm.deploy.export', None)
    with pytest.raises(
        ImportError, match=r'\[deploy,tflite-export\].*mmdeploy=='
    ):
        tiny.export(tmp_path, format='tflite')


def test_missing_images_to_calibrate_with(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match='neither a folder nor a file'):
        tiny.export(
            tmp_path / 'out',
            quantization='int8',
            calibration_data=tmp_path / 'missing',
        )
    assert not (tmp_path / 'out').exists()


def request(calibration, **changes):
    given = dict(
        format='onnx',
        quantization='int8',
        input_hw=SHAPE,
        batch_size=2,
        dynamic_batch=False,
        backbone_only=False,
        opset=17,
        calibration=calibration,
        max_images=100,
    )
    return ExportRequest(**{**given, **changes})


def test_calibration(tiny, tmp_path):
    for i in range(3):
        Image.fromarray(IMAGE + i).save(tmp_path / f'{i}.png')
    np.save(tmp_path / 'a.npy', np.stack([IMAGE] * 3) / np.float32(255))
    expected = batch(tiny)[0]
    for data in (
        tmp_path,
        str(tmp_path / 'a.npy'),
        np.stack([IMAGE] * 3) / np.float32(255),
    ):
        batches = list(calibration_batches(tiny.model, request(data)))
        assert [b.shape for b in batches] == [(2, 3, *SHAPE)] * 2
        np.testing.assert_allclose(batches[0][0], expected, atol=1e-5)
        # The first one again, so that all batches are whole.
        assert (batches[1][1] == batches[0][0]).all()
    few = request(tmp_path, max_images=1, batch_size=1)
    assert len(list(calibration_batches(tiny.model, few))) == 1


@pytest.mark.parametrize(
    'data, error, message',
    [
        ('empty', InputError, 'empty, for calibration, has no image'),
        ('text.npy', InputError, 'is not a .npy file'),
        ('broken', InputError, 'a.png cannot be read'),
        (np.zeros((4, 6, 3), np.float32), InputError, r'\(N, H, W, 3\)'),
        (np.zeros((0, 4, 6, 3), np.float32), InputError, r'got \(0, 4, 6'),
        (np.full((1, 4, 6, 3), 2.0), InputError, 'above 1'),
    ],
)
def test_bad_calibration(tiny, tmp_path, monkeypatch, data, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'a.png').write_bytes(b'no picture')
    (tmp_path / 'text.npy').write_text('no array')
    with pytest.raises(error, match=message):
        list(calibration_batches(tiny.model, request(data)))


def test_what_is_no_image_is_left_out_of_a_calibration(tiny, tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / 'a.png')
    (tmp_path / '._a.jpg').write_bytes(b'what macOS writes')
    (tmp_path / 'x.jpg').mkdir()
    data = request(tmp_path, batch_size=1)
    with pytest.warns(UserWarning, match='2 names .* left out.*_a.jpg'):
        (only,) = calibration_batches(tiny.model, data)
    np.testing.assert_allclose(only[0], batch(tiny)[0], atol=1e-5)


@pytest.mark.filterwarnings('ignore:int8 without')
def test_every_combination_has_a_config():
    folder = Path(__file__).parents[2] / 'configs/deploy/detection'
    for format, quantization, images, dynamic in itertools.product(
        FORMATS, (None, 'fp32', 'fp16', 'int8'), (None, 'x'), (False, True)
    ):
        given = dict(format=format, quantization=quantization, batch_size=1)
        try:
            made = request(images, dynamic_batch=dynamic, **given)
            precision, is_refused = made.precision, False
        except InputError:
            precision, is_refused = quantization, True
        if precision == 'int8' and images is None:
            precision = 'int8-dynamic'
        name = FORMATS[format][0]
        if precision not in (None, 'fp32'):
            name += f'-{precision}'
        kind = 'dynamic' if dynamic else 'static'
        file = folder / f'detection_{name}_{kind}.py'
        assert file.is_file() is not is_refused, file


def test_int8_without_images_is_of_weights_alone():
    with pytest.warns(UserWarning, match='the weights alone'):
        assert request(None).precision == 'int8-dynamic'
    assert request('folder').precision == 'int8'
    assert request(None, quantization=None).precision == 'fp32'
