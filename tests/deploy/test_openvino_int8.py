"""Int8 files of OpenVINO keep the model's interface and stay near it."""

import json
import sys

import numpy as np
import pytest
from small_export import CLASSES, HW, build, config, images, save

from rfdetr_mm.deploy import missing_package
from rfdetr_mm.deploy.export import deploy_config, export
from rfdetr_mm.deploy.openvino import OpenVINOManager, onnx_to_openvino
from rfdetr_mm.deploy.openvino_int8 import float_products, quantize_openvino
from rfdetr_mm.errors import InputError
from rfdetr_runtime import load, read_metadata

openvino = pytest.importorskip('openvino')


def batches(count=4, size=1):
    return [images(size, seed=i).numpy() for i in range(count)]


def write(folder, precision, seg=False, calibration=None, **options):
    cfg = config(seg)
    task = ('detection', 'instance-seg')[seg]
    folder.mkdir(exist_ok=True)
    deploy_cfg = deploy_config(
        task, 'openvino', precision, input_size=HW, **options
    )
    (file,) = export(
        cfg,
        save(build(cfg), folder / 'weights.pth'),
        deploy_cfg,
        folder / 'out',
        calibration=calibration,
    )
    return file


@pytest.mark.parametrize('seg', [False, True])
def test_backbone_and_neck_become_int8(tmp_path, seg):
    pytest.importorskip('nncf')
    base = write(tmp_path / 'a', 'fp32', seg, layout='raw')
    kind = dict(dynamic_batch=True) if seg else dict(batch_size=2)
    file = write(
        tmp_path / 'b',
        'int8',
        seg,
        batches(size=2),
        layout='raw',
        **kind,
    )
    sizes = [x.with_suffix('.bin').stat().st_size for x in (base, file)]
    assert sizes[1] < 0.45 * sizes[0]
    facts = read_metadata(file)
    assert facts['precision'] == 'int8'
    assert json.loads(facts['class_names']) == list(CLASSES)
    assert 'inference_precision' not in facts  # OpenVINO's own choice
    assert read_metadata(base)['inference_precision'] == 'f32'
    # Weights that are stored in int8 are those of backbone and neck.
    stored = {
        node.get_friendly_name()
        for node in openvino.Core().read_model(file).get_ordered_ops()
        if node.get_type_name() == 'Constant'
        and node.get_element_type() == openvino.Type.i8
    }
    assert stored
    assert not [name for name in stored if 'branch' in name]
    x = images(3).numpy()
    expected = load(base).run(x)
    found = load(file, precision='f32').run(x)
    assert set(found) == set(expected)
    error = np.abs(found['labels'] - expected['labels'])[..., :-1]
    assert 0 < np.median(error) < 0.2 * expected['labels'][..., :-1].std()


def test_the_head_is_left_alone(tmp_path):
    file = write(tmp_path, 'fp32')
    model = openvino.Core().read_model(file)
    names = float_products(model)
    assert names
    assert not [n for n in names if n.startswith(('/backbone/', '/neck/'))]
    kinds = {node.get_friendly_name() for node in model.get_ordered_ops()}
    assert {n for n in kinds if 'reg_branch' in n and 'WithoutB' in n} <= {
        *names
    }


@pytest.mark.parametrize(
    'calibration, message',
    [
        ([images(hw=(64, 64)).numpy()], r'\(1, 3, 64, 64\).*\(1, 3, 64, 96'),
        ([np.zeros((3, 64, 96), np.float32)], r'shape \(3, 64, 96\)'),
        ([], 'no image to calibrate'),
    ],
)
def test_images_that_do_not_fit(tmp_path, calibration, message, monkeypatch):
    file = write(tmp_path, 'fp32')
    model = openvino.Core().read_model(file)
    # Found before nncf, which takes seconds to import, is.
    monkeypatch.setitem(sys.modules, 'nncf', None)
    monkeypatch.setattr(
        missing_package.importlib.util, 'find_spec', lambda name: True
    )
    with pytest.raises(InputError, match=message):
        quantize_openvino(model, file, calibration)


def test_nothing_is_written_without_nncf_or_images(tmp_path, monkeypatch):
    deploy_cfg = deploy_config('detection', 'openvino', 'int8')
    with pytest.raises(InputError, match='images to calibrate'):
        OpenVINOManager.to_backend(['x.onnx'], str(tmp_path), deploy_cfg)
    for name, value in (('precision', 'int4'), ('inference_precision', 'x')):
        given = dict(precision='fp32', inference_precision=None)
        given[name] = value
        with pytest.raises(InputError, match=f'{name} must be one of'):
            onnx_to_openvino('x.onnx', tmp_path, **given)
    find = missing_package.importlib.util.find_spec
    monkeypatch.setattr(
        missing_package.importlib.util,
        'find_spec',
        lambda name: None if name == 'nncf' else find(name),
    )
    base = write(tmp_path / 'a', 'fp32')
    before = sorted(base.parent.iterdir())
    with pytest.raises(InputError, match=r"'rfdetr_mm\[openvino-export\]'"):
        onnx_to_openvino(
            base.with_suffix('.onnx'), base.parent, 'int8', batches()
        )
    assert sorted(base.parent.iterdir()) == before
