"""The graphs that TensorRT gets, in ONNX Runtime: no GPU is needed."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from mmdeploy.codebase import import_codebase
from mmdeploy.utils import Codebase
from small_export import CLASSES, HW, build, config, images, predict

from rfdetr_mm.deploy.export import deploy_config, write_graph
from rfdetr_mm.deploy.fp16_matrices import FP32_LAYERS
from rfdetr_mm.deploy.tensorrt.manager import prepare_onnx
from rfdetr_mm.errors import InputError

FP32_OPERATORS = ('LayerNormalization', 'Softmax', 'GridSample', 'TopK')


def exported(path, seg=False):
    """Written for TensorRT itself, whose rewriters are mmdeploy's."""
    cfg = config(seg)
    model = build(cfg)
    model.dataset_meta = dict(classes=CLASSES)
    deploy_cfg = deploy_config(
        ('detection', 'instance-seg')[seg],
        'tensorrt',
        input_size=HW,
        dynamic_batch=True,
    )
    import_codebase(Codebase.MMDET, ['rfdetr_mm.deploy'])
    # It replaces the parts of the model.
    write_graph(build(cfg), cfg, deploy_cfg, path)
    return model


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    path = tmp_path_factory.mktemp('tensorrt') / 'end2end.onnx'
    return exported(path), path


def run(graph, x):
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=['CPUExecutionProvider']
    )
    return session.run(None, {'input': x.numpy()})


def calibration():
    return (images(1, seed=seed).numpy() for seed in (1, 2, 3))


def test_fp32_graph_equals_pytorch(detector):
    model, path = detector
    x = images(3)
    dets, labels = run(prepare_onnx(path, 'fp32'), x)
    for i, wanted in enumerate(predict(model, x)):
        np.testing.assert_allclose(dets[i, :, :4], wanted.bboxes, atol=1e-3)
        np.testing.assert_allclose(dets[i, :, 4], wanted.scores, atol=1e-5)
        assert labels[i].tolist() == wanted.labels.tolist()


@pytest.mark.parametrize(
    ('precision', 'largest'), [('fp16', 2e-3), ('int8', 0.1)]
)
def test_other_graphs_are_near_and_keep_norms_in_fp32(
    detector, precision, largest
):
    _, path = detector
    plain = prepare_onnx(path, 'fp32')
    graph = prepare_onnx(path, precision, calibration())
    x = images(2)
    wanted, given = (np.sort(run(g, x)[0][..., 4]) for g in (plain, graph))
    assert 0 < np.abs(given - wanted).max() < largest

    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(graph).graph.value_info
    }
    types.update({w.name: w.data_type for w in graph.graph.initializer})
    reduced = Counter()
    for node in graph.graph.node:
        inputs = {types[name] for name in node.input if name in types}
        if node.op_type in FP32_OPERATORS:
            assert onnx.TensorProto.FLOAT16 not in inputs, node.name
        if node.op_type in ('MatMul', 'Gemm', 'Conv'):
            kept = any(layer in node.name for layer in FP32_LAYERS)
            reduced[kept, onnx.TensorProto.FLOAT16 in inputs] += 1
    quantised = Counter(node.op_type for node in graph.graph.node)
    assert bool(quantised['DequantizeLinear']) == (precision == 'int8')
    assert reduced[True, True] == 0
    assert reduced[True, False] >= 3 + 3 + 2 + 2  # boxes, offsets, positions
    assert reduced[False, True] > 0
    if precision == 'fp16':
        assert reduced[False, False] == 0


def test_int8_is_symmetric_as_tensorrt_wants_it(detector):
    graph = prepare_onnx(detector[1], 'int8', calibration()).graph
    weights = {
        w.name: onnx.numpy_helper.to_array(w) for w in graph.initializer
    }
    for node in graph.node:
        if node.op_type in ('QuantizeLinear', 'DequantizeLinear'):
            zero_point = weights[node.input[2]]
            assert zero_point.dtype == np.int8
            assert not zero_point.any()


def test_weights_beyond_fp16_stay_in_fp32(detector, tmp_path):
    model = onnx.load(str(detector[1]))
    (gemm,) = (n for n in model.graph.node if n.name == '/cls_branch/Gemm')
    for weight in model.graph.initializer:
        if weight.name == gemm.input[1]:
            array = onnx.numpy_helper.to_array(weight) + 1e5
            weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    onnx.save(model, str(tmp_path / 'large.onnx'))
    graph = prepare_onnx(tmp_path / 'large.onnx', 'fp16').graph
    (given,) = (n for n in graph.node if n.name == gemm.name)
    assert given.input == gemm.input


def test_masks_pass_the_check(tmp_path):
    path = tmp_path / 'end2end.onnx'
    model = exported(path, seg=True)
    x = images(1)
    masks = run(prepare_onnx(path, 'fp16'), x)[2]
    assert masks.shape[:2] == (1, len(predict(model, x)[0].masks))
    assert np.isfinite(masks).all()


def test_unknown_precision_is_refused(detector):
    with pytest.raises(InputError, match="one of .*got 'bf16'"):
        prepare_onnx(detector[1], 'bf16')


def test_calibration_images_of_another_size_are_refused(detector):
    images_of_32 = [np.zeros((1, 3, 32, 32), np.float32)]
    with pytest.raises(InputError, match='images for calibration'):
        prepare_onnx(detector[1], 'int8', images_of_32)
