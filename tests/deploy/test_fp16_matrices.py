"""An fp16 ONNX file loads in ONNX Runtime and is near the model."""

from collections import Counter

import numpy as np
import onnx
import pytest
from small_export import build, config, export_to, images, predict

from rfdetr_mm.deploy.export import deploy_config
from rfdetr_mm.deploy.fp16_matrices import FP32_LAYERS
from rfdetr_runtime import load


@pytest.fixture(scope='module', params=[False, True], ids=['boxes', 'masks'])
def exported(request, tmp_path_factory):
    cfg = config(request.param)
    model = build(cfg)
    folder = tmp_path_factory.mktemp('fp16')
    file, _ = export_to(
        folder, cfg, model, precision='fp16', dynamic_batch=True
    )
    return model, file


def test_the_file_predicts_nearly_what_the_model_does(exported):
    model, file = exported
    assert file.name == 'end2end_fp16.onnx'
    x = images(3)
    loaded = load(file)
    assert loaded.facts.precision == 'fp16'
    assert loaded.class_names == ['cat', 'dog', 'emu']
    found = loaded.detect(x.numpy(), [x.shape[2:]] * 3)
    source = load(file.with_name('end2end.onnx'))
    for ours, exact, wanted in zip(
        found, source.detect(x.numpy(), [x.shape[2:]] * 3), predict(model, x)
    ):
        assert abs(exact.confidence - wanted.scores.numpy()).max() < 1e-5
        # Not the same file, but a near one.
        difference = abs(ours.confidence - exact.confidence).max()
        assert 1e-6 < difference < 2e-3
        same = ours.class_id == exact.class_id
        assert same.mean() > 0.5
        assert np.median(abs(ours.xyxy - exact.xyxy)[same]) < 0.2
        if exact.mask is not None:
            assert (ours.mask != exact.mask)[same].mean() < 0.02


def test_what_is_in_fp16(exported):
    file = exported[1]
    model = onnx.load(file)
    weights = {w.name: w.data_type for w in model.graph.initializer}
    half = Counter(
        node.op_type
        for node in model.graph.node
        if any(
            weights.get(name) == onnx.TensorProto.FLOAT16
            for name in node.input
        )
    )
    assert half['Gemm'] + half['MatMul'] > 10 and half['Conv'] >= 1
    for node in model.graph.node:
        if any(layer in node.name for layer in FP32_LAYERS):
            kinds = {weights.get(name) for name in node.input}
            assert onnx.TensorProto.FLOAT16 not in kinds
    io = [*model.graph.input, *model.graph.output]
    kinds = {x.type.tensor_type.elem_type for x in io}
    assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    size = file.with_name('end2end.onnx').stat().st_size
    assert file.stat().st_size < 0.6 * size


def test_the_config_is_shipped():
    for task in ('detection', 'instance-seg'):
        for dynamic in (False, True):
            cfg = deploy_config(
                task, 'onnxruntime', 'fp16', dynamic_batch=dynamic
            )
            assert cfg.backend_config.precision == 'fp16'
