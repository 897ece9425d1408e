"""The way to an engine, with a stand-in for TensorRT: it needs a GPU."""

import sys
import types
from enum import IntEnum

import onnx
import pytest
from mmdeploy.backend.base import get_backend_manager
from mmengine.config import Config
from onnx import TensorProto, helper
from toy_onnx import write_toy

import rfdetr_mm.deploy  # noqa: F401
from rfdetr_mm.deploy import package_manager
from rfdetr_mm.deploy.tensorrt import manager
from rfdetr_mm.errors import InputError
from rfdetr_runtime import read_metadata


def deploy_cfg(**backend):
    return Config(
        dict(
            backend_config=dict(type='tensorrt', **backend),
            onnx_config=dict(output_names=['y']),
        )
    )


def onnx_file(path, batch):
    shape = [batch, 3, 2, 4]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node('Relu', ['input'], ['y'])],
        'graph',
        [value('input', TensorProto.FLOAT, shape)],
        [value('y', TensorProto.FLOAT, shape)],
    )
    opset = [helper.make_opsetid('', 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset), str(path))
    return str(path)


class Flag(IntEnum):
    STRONGLY_TYPED = 1
    WORKSPACE = 2
    TF32 = 3


@pytest.fixture
def calls(monkeypatch):
    """A module named tensorrt that notes what is asked of it."""
    calls = {'engine': b'engine', 'parses': True}
    images = types.SimpleNamespace(name='input')
    network = types.SimpleNamespace(get_input=lambda i: images)

    def note(key):
        return lambda *args: calls.__setitem__(key, args)

    def parse(content):
        given = onnx.load_from_string(content).graph.input[0].type.tensor_type
        images.shape = [side.dim_value or -1 for side in given.shape.dim]
        return calls['parses']

    config = types.SimpleNamespace(
        set_memory_pool_limit=note('memory'),
        clear_flag=note('cleared'),
        add_optimization_profile=note('profile'),
    )
    builder = types.SimpleNamespace(
        create_network=lambda flags: calls.update(flags=flags) or network,
        create_builder_config=lambda: config,
        create_optimization_profile=lambda: types.SimpleNamespace(
            set_shape=note('shapes')
        ),
        build_serialized_network=lambda *args: calls['engine'],
    )
    module = types.ModuleType('tensorrt')
    module.Logger = lambda level: None
    module.Logger.WARNING = 0
    module.Builder = lambda logger: builder
    module.OnnxParser = lambda *args: types.SimpleNamespace(
        parse=parse, num_errors=1, get_error=lambda i: 'node 7'
    )
    module.NetworkDefinitionCreationFlag = Flag
    module.MemoryPoolType = Flag
    module.BuilderFlag = Flag
    monkeypatch.setitem(sys.modules, 'tensorrt', module)
    monkeypatch.delitem(
        sys.modules, 'rfdetr_mm.deploy.tensorrt.engine', raising=False
    )
    monkeypatch.setattr(package_manager, 'require_package', lambda *args: None)
    return calls


def test_static_graph_needs_no_profile(calls, tmp_path):
    (file,) = manager.TensorRTManager.to_backend(
        [onnx_file(tmp_path / 'a.onnx', 1)], str(tmp_path / 'o'), deploy_cfg()
    )
    assert file == str(tmp_path / 'o' / 'a.engine')
    assert open(file, 'rb').read() == b'engine'
    # A source without metadata has none to hand on.
    assert read_metadata(file) == dict(precision='fp32')
    assert calls['flags'] == 1 << Flag.STRONGLY_TYPED
    assert calls['cleared'] == (Flag.TF32,)
    assert 'profile' not in calls


def test_dynamic_batch_has_the_configured_profile(calls, tmp_path):
    manager.TensorRTManager.to_backend(
        [onnx_file(tmp_path / 'a.onnx', 'batch')],
        str(tmp_path),
        deploy_cfg(precision='fp16', batch_sizes=(1, 4, 8)),
    )
    assert calls['shapes'] == (
        'input',
        (1, 3, 2, 4),
        (4, 3, 2, 4),
        (8, 3, 2, 4),
    )


@pytest.mark.parametrize('broken', [dict(engine=None), dict(parses=False)])
def test_failure_leaves_no_engine(calls, tmp_path, broken):
    calls.update(broken)
    with pytest.raises(RuntimeError, match='node 7|could not build'):
        manager.TensorRTManager.to_backend(
            [onnx_file(tmp_path / 'a.onnx', 1)], str(tmp_path), deploy_cfg()
        )
    assert [path.name for path in tmp_path.iterdir()] == ['a.onnx']


def test_an_engine_has_the_metadata_of_its_source(calls, tmp_path):
    source = write_toy(tmp_path / 'toy.onnx')
    (file,) = manager.TensorRTManager.to_backend(
        [str(source)], str(tmp_path), deploy_cfg(precision='fp16')
    )
    assert read_metadata(file) == {
        **read_metadata(source),
        'precision': 'fp16',
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'toy.engine',
        'toy.engine.json',
        'toy.onnx',
    ]


def test_missing_package_is_named(tmp_path):
    assert get_backend_manager('tensorrt') is manager.TensorRTManager
    if manager.TensorRTManager.is_available():
        pytest.skip('TensorRT is installed here')
    assert manager.TensorRTManager.get_version() == 'None'
    for call in (
        manager.TensorRTManager.to_backend,
        lambda files, *args: manager.TensorRTManager.build_wrapper(files),
    ):
        with pytest.raises(InputError, match='pip install tensorrt'):
            call(['a.onnx'], str(tmp_path), deploy_cfg())


def test_int8_needs_images(calls, tmp_path):
    with pytest.raises(InputError, match='needs images to calibrate'):
        manager.TensorRTManager.to_backend(
            ['a.onnx'], str(tmp_path), deploy_cfg(precision='int8')
        )
