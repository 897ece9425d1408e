"""Int8 files keep the model's interface and stay near it."""

import json

import numpy as np
import onnx
import pytest
import torch
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


def test_equal_weights_are_transposed_once(tmp_path):
    """The exporter gives equal layers one tensor, as of untrained models."""
    generator = np.random.default_rng(0)
    # Multiples of a scale, so that int8 weights are exact.
    weight = generator.integers(-64, 65, (8, 8)).astype(np.float32) / 64
    np.fill_diagonal(weight, 1)
    bias = np.zeros(8, np.float32)
    nodes = [
        onnx.helper.make_node('Gemm', [x, *more], [y], name, transB=1)
        for x, y, name, more in (
            ('input', 'a', '/backbone/fc', ['weight', 'bias']),
            ('a', 'b', '/backbone/fc2', ['weight', 'bias']),
            ('b', 'c', '/bbox_head/fc', ['weight', 'bias']),
        )
    ]
    nodes.append(onnx.helper.make_node('MatMul', ['c', 'weight'], ['y']))
    values = [
        onnx.helper.make_tensor_value_info(
            name, onnx.TensorProto.FLOAT, [4, 8]
        )
        for name in ('input', 'y')
    ]
    weights = [
        onnx.numpy_helper.from_array(weight, 'weight'),
        onnx.numpy_helper.from_array(bias, 'bias'),
    ]
    graph = onnx.helper.make_graph(
        nodes, 'graph', values[:1], values[1:], weights
    )
    onnx.save(
        onnx.helper.make_model(
            graph,
            ir_version=9,
            opset_imports=[onnx.helper.make_opsetid('', 17)],
        ),
        tmp_path / 'shared.onnx',
    )
    quantize(tmp_path / 'shared.onnx', tmp_path / 'int8.onnx')
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    found = run(tmp_path / 'int8.onnx', x)['y']
    expected = x.numpy() @ np.linalg.matrix_power(weight.T, 3) @ weight
    np.testing.assert_allclose(found, expected, atol=0.03 * expected.std())


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
