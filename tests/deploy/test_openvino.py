"""OpenVINO files are the same model, in the real runtime."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmdeploy.apis import build_task_processor
from mmdeploy.backend.base import get_backend_manager
from small_export import HW, build, config, images, predict, save

from rfdetr_mm.deploy import missing_package
from rfdetr_mm.deploy.export import deploy_config, export
from rfdetr_mm.deploy.metadata import read_metadata
from rfdetr_mm.deploy.openvino import (
    OpenVINOManager,
    OpenVINOWrapper,
    onnx_to_openvino,
)
from rfdetr_mm.errors import InputError
from rfdetr_runtime import load

pytest.importorskip('openvino')


def openvino_export(folder, seg=False, precision='fp32', **options):
    cfg = config(seg)
    model = build(cfg)
    deploy_cfg = deploy_config(
        ('detection', 'instance-seg')[seg],
        'openvino',
        precision,
        input_size=HW,
        **options,
    )
    folder.mkdir(exist_ok=True)
    checkpoint = save(model, folder / 'weights.pth')
    (file,) = export(cfg, checkpoint, deploy_cfg, folder / 'out')
    task = build_task_processor(cfg, deploy_cfg, 'cpu')
    return model, file, task.build_backend_model([str(file)])


def differences(outputs, model, x):
    """Of boxes in px and of scores, over detections of equal rank."""
    dets, labels = outputs[:2]
    wanted = predict(model, x)
    boxes = torch.stack([detections.bboxes for detections in wanted])
    scores = torch.stack([detections.scores for detections in wanted])
    assert labels.shape == scores.shape
    return (
        (dets[..., :4] - boxes).abs().max().item(),
        (dets[..., 4] - scores).abs().max().item(),
    )


def check_runtime(file):
    """The file, and the ONNX file it was made of, predict the same."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (h, 70, 3), np.uint8) for h in (40, 90)]
    model = load(file)
    assert model.class_names == ['cat', 'dog', 'emu']
    source = load(file.with_suffix('.onnx'))
    assert model.facts == replace(source.facts, precision='fp32')
    expected = source.predict(pictures, 0.0)
    for ours, other in zip(model.predict(pictures, 0.0), expected):
        assert len(ours) == len(other) > 0
        np.testing.assert_allclose(ours.xyxy, other.xyxy, atol=0.01)
        np.testing.assert_allclose(
            ours.confidence, other.confidence, atol=1e-5
        )


@pytest.mark.parametrize(
    'options', [dict(batch_size=2), dict(dynamic_batch=1)]
)
def test_detector_equals_pytorch(tmp_path, options):
    model, file, backend_model = openvino_export(tmp_path, **options)
    assert sorted(p.name for p in file.parent.iterdir()) == [
        'end2end.bin',
        'end2end.onnx',
        'end2end.xml',
    ]
    for batch_size in (1, 3):
        x = images(batch_size)
        box_px, score = differences(backend_model.predict(x), model, x)
        assert box_px < 1e-3
        assert score < 1e-5
    # Other images must not pass.
    box_px, score = differences(backend_model.predict(x + 1), model, x)
    assert box_px > 0.05
    assert score > 1e-4
    with pytest.raises(InputError, match='takes images of shape'):
        backend_model.predict(images(1, HW[::-1]))
    check_runtime(file)


def test_masks_equal_pytorch_and_fp16_is_half_the_size(tmp_path):
    model, file, backend_model = openvino_export(tmp_path / 'a', seg=True)
    half, half_file, _ = openvino_export(
        tmp_path / 'b', seg=True, precision='fp16', dynamic_batch=True
    )
    x = images(2)
    outputs = backend_model.predict(x)
    assert differences(outputs, model, x)[0] < 1e-3
    masks = torch.nn.functional.interpolate(
        outputs[2], size=HW, mode='bilinear', align_corners=False
    )
    for given, wanted in zip(masks, predict(model, x)):
        assert ((given > 0) != wanted.masks).float().mean() < 1e-3
    sizes = [
        path.with_suffix('.bin').stat().st_size for path in (file, half_file)
    ]
    assert sizes[1] < 0.6 * sizes[0]
    assert [
        read_metadata(path)['precision'] for path in (file, half_file)
    ] == [
        'fp32',
        'fp16',
    ]
    assert read_metadata(file)['class_names'] == '["cat", "dog", "emu"]'


def test_mmdeploy_finds_ours():
    assert get_backend_manager('openvino') is OpenVINOManager


def test_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(
        missing_package.importlib.util, 'find_spec', lambda name: None
    )
    monkeypatch.setitem(sys.modules, 'openvino', None)
    assert OpenVINOManager.get_version() == 'None'
    for call in (
        lambda: onnx_to_openvino('a.onnx', tmp_path),
        lambda: OpenVINOWrapper('a.xml'),
    ):
        with pytest.raises(InputError, match=r"'rfdetr_mm\[openvino\]'"):
            call()
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_none_is_refused(tmp_path):
    broken = tmp_path / 'broken.xml'
    broken.write_text('no model')
    for file in (broken, tmp_path / 'missing.xml'):
        with pytest.raises(InputError, match='cannot be read'):
            OpenVINOWrapper(str(file))
