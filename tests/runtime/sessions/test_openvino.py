"""OpenVINO computes in the precision that was asked for."""

import numpy as np
import pytest
from toy_onnx import CLASSES, HW, write_toy

from rfdetr_runtime import InputError, load
from rfdetr_runtime.metadata import NAME
from rfdetr_runtime.sessions.openvino import OpenVINOSession

openvino = pytest.importorskip('openvino')


def convert(folder, seg=False, named=True, **texts):
    """A toy as an .xml file with metadata."""
    folder.mkdir(exist_ok=True)
    file = write_toy(folder / 'toy.onnx', seg=seg)
    model = openvino.convert_model(str(file))
    outputs = [x for node in model.get_ops() for x in node.outputs()]
    for output in () if named else outputs:
        output.get_tensor().set_names(set())
    names = dict(class_names='["cat", "dog"]', mean='[0, 0, 0]')
    names.update(std='[255, 255, 255]', channel_order='RGB')
    for key, text in {**names, 'resize_kernel': 'predict', **texts}.items():
        model.set_rt_info(text, [NAME, key])
    file = str(folder / 'toy.xml')
    openvino.save_model(model, file, compress_to_fp16=False)
    return file


@pytest.fixture
def asked(monkeypatch):
    """Options that OpenVINO is given, and what the processor has."""
    options, known = {}, ['FP32', 'BF16']
    compile_model = openvino.Core.compile_model

    class Core(openvino.Core):
        def get_property(self, device, name):
            assert (device, name) == ('CPU', 'OPTIMIZATION_CAPABILITIES')
            return known

        def compile_model(self, model, device, given):
            options.clear()
            options.update(given)
            # The real processor may lack it.
            plain = {k: v for k, v in given.items() if 'HINT' not in k}
            return compile_model(self, model, device, plain)

    monkeypatch.setattr(openvino, 'Core', Core)
    options['known'] = known
    return options


@pytest.mark.parametrize(
    'said, given, hint',
    [
        (None, None, None),  # OpenVINO's own choice
        ('f32', None, 'f32'),
        ('f32', 'bf16', 'bf16'),
        (None, 'f32', 'f32'),
    ],
)
def test_the_file_says_and_the_caller_decides(
    tmp_path, asked, said, given, hint
):
    texts = {} if said is None else dict(inference_precision=said)
    model = load(convert(tmp_path, **texts), precision=given)
    assert asked.get('INFERENCE_PRECISION_HINT') == hint
    assert model.class_names == list(CLASSES)


def test_a_precision_that_the_processor_lacks(tmp_path, asked):
    asked['known'].remove('BF16')
    with pytest.warns(UserWarning, match='CPU here does not compute in bf16'):
        load(convert(tmp_path), precision='bf16')
    assert asked['INFERENCE_PRECISION_HINT'] == 'f32'


def test_precisions_that_there_are_not(tmp_path):
    with pytest.raises(InputError, match="f32, bf16, f16, got 'fp16'"):
        load(convert(tmp_path), precision='fp16')
    file = convert(tmp_path / 'b', inference_precision='int8')
    with pytest.raises(InputError, match="toy.xml: precision .* got 'int8'"):
        load(file)


def test_f32_is_float32(tmp_path):
    """Where OpenVINO would take bf16, which has three digits."""
    rng = np.random.default_rng(0)
    images = rng.random((1, 3, *HW), np.float32)
    session = OpenVINOSession(convert(tmp_path), precision='f32')
    scores = session.run(images)['dets'][0, :, 4]
    np.testing.assert_allclose(scores, images.mean() + [0.4, 0.2], atol=1e-6)


@pytest.mark.parametrize('seg', [False, True])
def test_outputs_without_names(tmp_path, seg):
    """As in the files of rfdetr 1.11.2."""
    pixels = np.full((8, 18, 3), 51, np.uint8)
    found, expected = (
        load(convert(tmp_path / str(named), seg, named), precision='f32')
        for named in (False, True)
    )
    assert found._session.output_shapes == expected._session.output_shapes
    found, expected = (
        model.predict(pixels, 0.0) for model in (found, expected)
    )
    np.testing.assert_array_equal(found.xyxy, expected.xyxy)
    np.testing.assert_array_equal(found.class_id, expected.class_id)
    np.testing.assert_array_equal(found.mask, expected.mask)


@pytest.mark.parametrize('side_by_side', [1, 2])
def test_threads_get_their_own_results(tmp_path, side_by_side):
    model = load(convert(tmp_path), precision='f32', side_by_side=side_by_side)
    images = [np.full((8, 18, 3), i, np.uint8) for i in range(60)]
    for i, found in enumerate(model.predict_each(images, 0.0)):
        expected = np.array([0.4, 0.2]) + i / 255
        np.testing.assert_allclose(found.confidence, expected, atol=1e-5)
