"""A file predicts by itself: layouts, kinds of images, errors."""

import json
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_onnx import CLASSES, FACTS, HW, write_toy

import rfdetr_runtime
from rfdetr_runtime import ExportedModel, InputError, load
from rfdetr_runtime.exported_model import open_session
from rfdetr_runtime.facts import FileFacts
from rfdetr_runtime.sessions.session import Session

pytest.importorskip('onnxruntime')

ROOT = Path(__file__).parents[2]
GREY = np.full((8, 18, 3), 51, np.uint8)  # (h, w) not the file's; 51 / 255
SCORES = (0.6, 0.4)  # of the toy, 'end2end', for GREY
BOXES = [[0, 0, 9, 4], [9, 2, 18, 8]]  # of the toy in pixels of GREY


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


@pytest.fixture(params=['end2end', 'raw'])
def toy(request, tmp_path):
    return write_toy(tmp_path / 'a.onnx', request.param, seg=True)


def test_layouts_give_the_same_detections(toy):
    found = load(toy).predict(GREY, 0.0)
    found = found[found.confidence > 0.01]
    raw = load(toy).facts.layout == 'raw'
    scores = sigmoid([1.2, 0.2]) if raw else SCORES
    np.testing.assert_allclose(found.xyxy, BOXES, atol=1e-5)
    np.testing.assert_allclose(found.confidence, scores, atol=1e-6)
    assert found.class_id.tolist() == [1, 0]
    assert found.class_names.tolist() == ['dog', 'cat']
    assert found.data['source_shape'].tolist() == [[8, 18]] * 2
    assert found.mask.shape == (2, 8, 18) and found.mask.dtype == bool
    # The logits 1 and -1 of the first mask meet half way between centres.
    assert found.mask[0, :2, :4].all() and not found.mask[0, 4:].any()
    assert found.mask[1, 5:].all() and not found.mask[1, :3].any()
    assert found.xyxy.dtype == found.confidence.dtype == np.float32
    assert found.metadata['source_image'] is GREY


def test_the_threshold_is_exceeded(toy):
    model = load(toy)
    scores = model.predict(GREY, 0.0).confidence
    for limit in (*scores[:3], 0.5):
        kept = model.predict(GREY, float(limit))
        np.testing.assert_array_equal(kept.confidence, scores[scores > limit])


def test_nothing_is_found(toy):
    found = load(toy).predict(GREY, 0.9999)
    assert len(found) == 0
    assert found.xyxy.shape == (0, 4) and found.mask.shape == (0, 8, 18)
    assert found.data['source_shape'].shape == (0, 2)
    assert len(found.to_supervision()) == 0
    assert load(toy).predict([]) == []


def test_kinds_of_images_give_the_same(tmp_path):
    model = load(write_toy(tmp_path / 'a.onnx'))
    noise = np.random.default_rng(0).integers(0, 256, (9, 5, 3), np.uint8)
    file = tmp_path / 'a.png'
    Image.fromarray(noise).save(file)
    images = [noise, str(file), file, Image.open(file), noise / 255]
    results = model.predict(images, 0.0)
    for found in results:
        np.testing.assert_allclose(
            found.confidence, results[0].confidence, atol=1e-6
        )
        np.testing.assert_array_equal(found.metadata['source_image'], noise)
    found = model.predict(noise, 0.0, include_source_image=False)
    assert found.metadata == {}


@pytest.mark.parametrize('batch', [1, 2, 'batch'])
@pytest.mark.parametrize('count', [1, 2, 5])
def test_images_stay_in_order_in_batches(tmp_path, batch, count):
    model = load(write_toy(tmp_path / 'a.onnx', batch=batch))
    assert model.batch_size == (None if batch == 'batch' else batch)
    images = [np.full((3 + i, 7, 3), 10 * i, np.uint8) for i in range(count)]
    found = model.predict(images, 0.0)
    for i, result in enumerate(found):
        score = 0.4 + 10 * i / 255
        assert result.confidence[0] == pytest.approx(score, abs=1e-6)
        assert result.data['source_shape'][0].tolist() == [3 + i, 7]
    assert len(found) == count


def test_chosen_rows_and_supervision(toy):
    supervision = pytest.importorskip('supervision')
    model = load(toy)
    found = model.predict(GREY, 0.0)
    theirs = model.predict([GREY], 0.0, as_supervision=True)[0]
    assert isinstance(theirs, supervision.Detections)
    chosen = np.array([True] + [False] * (len(found) - 1))
    for rows in (chosen, [0], 0, slice(0, 1)):
        ours, other = found[rows], theirs[rows]
        for name in ('xyxy', 'confidence', 'class_id', 'mask'):
            np.testing.assert_array_equal(
                getattr(ours, name), getattr(other, name)
            )
        for name in ('class_name', 'source_shape'):
            np.testing.assert_array_equal(ours.data[name], other.data[name])


def test_bgr_and_the_kernel_of_the_file(tmp_path):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (40, 30, 3), np.uint8)
    inputs = {}
    for order in ('RGB', 'BGR'):
        for kernel in ('predict', 'validation'):
            facts = dict(FACTS, channel_order=order, resize_kernel=kernel)
            facts.update(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])
            file = write_toy(tmp_path / 'a.onnx', facts=facts)
            inputs[order, kernel] = load(file).prepare(picture)
    for kernel in ('predict', 'validation'):
        rgb, bgr = inputs['RGB', kernel], inputs['BGR', kernel]
        np.testing.assert_allclose(
            rgb[0] * 4 + 1, bgr[2] * 6 + 3, rtol=1e-6, atol=1e-4
        )
    resized = Image.fromarray(picture).resize(HW[::-1], Image.BILINEAR)
    red = (np.asarray(resized, np.float32)[..., 0] - 1) / 4
    np.testing.assert_array_equal(inputs['RGB', 'validation'][0], red)
    assert np.abs(inputs['RGB', 'predict'][0] - red).max() > 1


def test_a_file_without_metadata_gets_one_line(tmp_path):
    file = write_toy(tmp_path / 'a.onnx', 'raw', facts={})
    with pytest.warns(UserWarning) as noted:
        model = load(file)
    (line,) = [str(warning.message) for warning in noted]
    assert '\n' not in line and line.startswith(f'{file} does not say its')
    # One class row more than classes, as in rfdetr's own files.
    assert model.class_names == ['class_0', 'class_1']
    assert model.facts.layout == 'raw' and model.facts.mean[0] == 123.675
    with pytest.warns(UserWarning, match='does not say its mean'):
        assert load(file, class_names=CLASSES).class_names == list(CLASSES)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        load(write_toy(tmp_path / 'a.onnx', 'raw'))


def broken(tmp_path, kind):
    """A file that cannot be used."""
    path = tmp_path / 'a.onnx'
    if kind == 'missing':
        return path
    if kind == 'text':
        path.write_text('no model at all')
    elif kind == 'empty':
        path.write_bytes(b'')
    elif kind == 'truncated':
        content = write_toy(path).read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif kind == 'suffix':
        path = tmp_path / 'a.pth'
        path.write_bytes(b'x')
    elif kind == 'backbone':
        write_toy(path, names=('features', 'x'), facts={})
    elif kind == 'keypoints':
        write_toy(path, facts=dict(FACTS, task='keypoints'))
    elif kind == 'poses':
        write_toy(path, facts=dict(FACTS, task='poses'))
    elif kind == 'classifier':
        write_toy(path, names=('scores', 'x'), facts={})
    elif kind == 'shape':
        write_toy(path, dets=[[1, 2, 3]] * 2, facts={}, layout='raw')
    elif kind == 'names':
        write_toy(path, 'raw', facts=dict(FACTS, class_names=list('abcd')))
    elif kind == 'kernel':
        write_toy(path, facts=dict(FACTS, resize_kernel='cubic'))
    elif kind == 'json':
        write_toy(path, facts=dict(FACTS, mean='[1, 2'))
    elif kind == 'size':
        write_toy(path, hw=('h', 6))
    return path


@pytest.mark.parametrize(
    'kind, message',
    [
        ('missing', 'there is no exported file .*a.onnx .*: none'),
        ('text', 'cannot be read as an ONNX file .15 bytes.'),
        ('empty', 'cannot be read as an ONNX file .0 bytes.: it has no graph'),
        ('truncated', 'a part of it is missing: field 7 has'),
        ('suffix', 'kind of .*a.pth is not known.*.onnx, .xml, .tflite, .pte'),
        ('backbone', 'is an exported backbone'),
        ('keypoints', 'outputs dets, labels, and dets, labels, keypoints are'),
        ('poses', "of the task 'poses'; this version reads detection, insta"),
        (
            'classifier',
            'not a detector .* outputs scores, x, and dets, labels',
        ),
        ('shape', r'dets has the shape \(1, 2, 3\), but'),
        ('names', 'names 4 classes and has 3 class rows'),
        ('kernel', "says resize_kernel='cubic', known are predict, validati"),
        ('json', r"metadata of .* cannot be read, mean='\[1, 2'"),
        ('size', 'has no fixed image size'),
    ],
)
def test_files_that_are_refused(tmp_path, kind, message):
    with pytest.raises(InputError, match=message) as error:
        load(broken(tmp_path, kind))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(batch_size=2), 'takes batches of 1 to 1 images, got batch_size'),
        (dict(batch_size=0), 'batch_size is at least 1, got 0'),
        (dict(shape=(6, 4)), r'for images of \(4, 6\) .*got shape=\(6, 4\)'),
    ],
)
def test_arguments_that_are_refused(tmp_path, arguments, message):
    model = load(write_toy(tmp_path / 'a.onnx'))
    with pytest.raises(InputError, match=message):
        model.predict(GREY, **arguments)
    assert len(model.predict(GREY, shape=HW, batch_size=1)) == 1


@pytest.mark.parametrize(
    'image, error, message',
    [
        (np.zeros((3, 4, 6)), InputError, r'shape \(H, W, 3\)'),
        (np.zeros((4, 6), np.uint8), InputError, r'got \(4, 6\)'),
        (np.full((4, 6, 3), 2.0), InputError, 'values from 2 to 2'),
        (np.full((4, 6, 3), np.nan), InputError, 'values from nan'),
        (np.zeros((0, 6, 3), np.uint8), InputError, 'at least one pixel'),
        ('gone.jpg', FileNotFoundError, 'no image file gone.jpg'),
        (__file__, InputError, 'cannot be read'),
        (7, TypeError, 'got int'),
    ],
)
def test_images_that_are_refused(tmp_path, image, error, message):
    with pytest.raises(error, match=message):
        load(write_toy(tmp_path / 'a.onnx')).predict(image)


@pytest.mark.parametrize(
    'layout, given',
    [
        ('end2end', dict(dets=[[0, 0, 1, 1, np.nan]] * 2)),
        ('end2end', dict(dets=[[0, np.inf, 1, 1, 0.5]] * 2)),
        ('raw', dict(labels=[[np.nan, 0, 0]] * 2)),
    ],
)
def test_outputs_that_are_no_numbers(tmp_path, layout, given):
    model = load(write_toy(tmp_path / 'a.onnx', layout, **given))
    with pytest.raises(InputError, match='a.onnx gave values that are not fi'):
        model.predict(GREY)


@pytest.mark.parametrize(
    'name, package, extra',
    [
        ('a.onnx', 'onnxruntime', r'rfdetr_mm\[onnx\]'),
        ('a.xml', 'openvino', r'rfdetr_mm\[openvino\]'),
        ('a.tflite', 'ai_edge_litert', r'rfdetr_mm\[tflite\]'),
        ('a.pte', 'executorch', r'rfdetr_mm\[executorch\]'),
        ('a.ncnn', 'ncnn', r'rfdetr_mm\[ncnn\]'),
        ('a.engine', 'tensorrt', 'pip install tensorrt cuda-python'),
    ],
)
def test_a_missing_runtime_is_named(
    tmp_path, monkeypatch, name, package, extra
):
    path = tmp_path / name
    path.write_bytes(b'x')
    # None in sys.modules is an import that fails.
    parts = ('interpreter', 'runtime')
    for module in (package, *(f'{package}.{part}' for part in parts)):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f'needs the package {package}.*'):
        open_session(path)
    with pytest.raises(InputError, match=extra):
        open_session(path)


@pytest.mark.parametrize('device', ['cuda', 'gpu:1'])
def test_a_device_that_is_not_there(tmp_path, device):
    import onnxruntime

    if 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('this ONNX Runtime has it')
    with pytest.raises(InputError, match=f"no device '{device}'"):
        load(write_toy(tmp_path / 'a.onnx'), device=device)


BLOCKED = """
import sys
blocked = {'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmdeploy',
           'cv2', 'rfdetr_mm', 'rfdetr', 'supervision', 'onnx'}
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in blocked:
            raise ImportError(f'{name} is blocked')
sys.meta_path.insert(0, Block())
import json
import rfdetr_runtime
found = rfdetr_runtime.load(sys.argv[1], threads=1).predict(sys.argv[2], 0.3)
print(json.dumps([found.class_names.tolist(), found.mask.shape]))
"""


def test_it_runs_where_nothing_else_is_installed(tmp_path):
    file = write_toy(tmp_path / 'a.onnx', seg=True)
    Image.fromarray(GREY).save(tmp_path / 'a.png')
    done = subprocess.run(
        [sys.executable, '-c', BLOCKED, str(file), str(tmp_path / 'a.png')],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert not done.returncode, done.stderr
    assert json.loads(done.stdout) == [['dog', 'cat'], [2, 8, 18]]


def test_what_the_package_offers():
    assert set(rfdetr_runtime.__all__) <= set(dir(rfdetr_runtime))


@pytest.mark.parametrize('side_by_side', [1, 3])
@pytest.mark.parametrize('batch', [1, 2, 'batch'])
def test_many_images_come_in_their_order(tmp_path, side_by_side, batch):
    file = write_toy(tmp_path / 'a.onnx', batch=batch, seg=True)
    model = load(file, side_by_side=side_by_side)
    images = [np.full((8, 9 + i, 3), 10 * i, np.uint8) for i in range(17)]
    expected = load(file).predict(images, 0.0)
    options = dict(batch_size=4) if batch == 'batch' else {}
    results = list(model.predict_each(iter(images), 0.0, **options))
    for found, wanted in zip(results, expected, strict=True):
        for name in ('xyxy', 'confidence', 'class_id', 'mask'):
            np.testing.assert_array_equal(
                getattr(found, name), getattr(wanted, name)
            )
        assert (
            found.metadata['source_image'].shape[1]
            == (wanted.metadata['source_image'].shape[1])
        )
    assert list(model.predict_each([])) == []
    (bare,) = model.predict_each(images[:1], include_source_image=False)
    assert 'source_image' not in bare.metadata


def test_few_images_are_held(tmp_path):
    """An endless source, a video say, is read as its results are taken."""
    taken = []

    def source():
        while True:
            taken.append(GREY)
            yield GREY

    model = load(write_toy(tmp_path / 'a.onnx'), side_by_side=2)
    results = model.predict_each(source())
    for _ in range(5):
        next(results)
    results.close()
    assert 5 <= len(taken) <= 5 + 2 * 2


def test_results_before_a_broken_image(tmp_path):
    model = load(write_toy(tmp_path / 'a.onnx'), side_by_side=2)
    results = model.predict_each([GREY, GREY, tmp_path / 'no.jpg', GREY])
    assert len(next(results)) == len(next(results)) == 1
    with pytest.raises(FileNotFoundError, match='no.jpg'):
        next(results)
    with pytest.raises(InputError, match='batches of 1 to 1 images'):
        next(model.predict_each([GREY], batch_size=3))


class Counting(Session):
    """Notes how many threads run it at a time."""

    def __init__(self, side_by_side):
        self.file, self.side_by_side = 'a.file', side_by_side
        self.input_shape = 1, 3, *HW
        self.output_shapes = dict(dets=(1, 3, 5), labels=(1, 3))
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    def _run(self, images):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.01)
        with self.lock:
            self.now -= 1
        return dict(
            dets=np.zeros((1, 3, 5), np.float32),
            labels=np.zeros((1, 3), np.int64),
        )


@pytest.mark.parametrize('side_by_side', [1, 3])
def test_no_more_threads_than_the_runtime_takes(side_by_side):
    session = Counting(side_by_side)
    model = ExportedModel(session, FileFacts(), {})
    assert len(list(model.predict_each([GREY] * 20))) == 20
    assert session.most == side_by_side


def test_options_of_other_runtimes(tmp_path):
    file = write_toy(tmp_path / 'a.onnx')
    with pytest.raises(InputError, match="precision='bf16' is for the .xml"):
        load(file, precision='bf16')
    with pytest.raises(InputError, match='side_by_side is at least 1, got 0'):
        load(file, side_by_side=0)
