"""Int8 files keep the model's interface and stay near it."""

import json

import numpy as np
import onnx
import pytest
from small_export import CLASSES, build, config, export_to, images, run

from rfdetr_mm.deploy.export import deploy_config
from rfdetr_mm.deploy.quantization import quantize, quantized_nodes
from rfdetr_mm.errors import InputError


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    cfg = config()
    folder = tmp_path_factory.mktemp('float')
    return export_to(folder, cfg, build(cfg), layout='raw')[0]


@pytest.mark.parametrize('kind', ['int8-dynamic', 'int8'])
def test_backbone_and_neck_become_int8(file, tmp_path, kind):
    batches = [images(seed=i).numpy() for i in range(3)]
    target = tmp_path / 'int8.onnx'
    quantize(file, target, None if kind == 'int8-dynamic' else batches)
    assert target.stat().st_size < 0.45 * file.stat().st_size
    proto = onnx.load(target)
    facts = {p.key: p.value for p in proto.metadata_props}
    assert facts['precision'] == kind
    assert json.loads(facts['class_names']) == list(CLASSES)
    domains = {node.domain for node in proto.graph.node}
    assert domains <= {'', 'ai.onnx'}
    # The head stays float: it sees weights that are still initializers.
    floats = {
        i.name
        for i in proto.graph.initializer
        if i.data_type == onnx.TensorProto.FLOAT and len(i.dims) == 2
    }
    assert any('reg_branch' in name for name in floats)
    assert not any('backbone.blocks' in name for name in floats)
    found, expected = run(target, images()), run(file, images())
    assert found['dets'].shape == expected['dets'].shape
    error = np.abs(found['labels'] - expected['labels'])[..., :-1]
    assert 0 < np.median(error) < 0.2 * expected['labels'][..., :-1].std()


def test_the_head_is_left_alone(file):
    names = quantized_nodes(file, 'Gemm', 'Conv')
    assert names
    assert all(n.startswith(('/backbone/blocks', '/neck/')) for n in names)


def test_images_of_another_size(file, tmp_path):
    batches = [images(hw=(64, 64)).numpy()]
    with pytest.raises(InputError, match=r'\(1, 3, 64, 64\).*\(1, 3, 64, 96'):
        quantize(file, tmp_path / 'int8.onnx', batches)


def test_static_needs_images(tmp_path):
    from rfdetr_mm.deploy.onnxruntime import QuantizingManager

    deploy_cfg = deploy_config('detection', 'onnxruntime', precision='int8')
    with pytest.raises(InputError, match='images to calibrate'):
        QuantizingManager.to_backend(['x.onnx'], str(tmp_path), deploy_cfg)
    deploy_cfg.backend_config.precision = 'int3'
    with pytest.raises(InputError, match='precision must be one of'):
        QuantizingManager.to_backend(['x.onnx'], str(tmp_path), deploy_cfg)
    assert not list(tmp_path.iterdir())
