"""The TFLite file is the same model, in four precisions."""

import numpy as np
import pytest
import torch
from mmdeploy.apis import build_task_processor
from small_export import CLASSES, HW, build, config, images, predict, save

from rfdetr_mm.deploy.export import deploy_config, export
from rfdetr_mm.deploy.metadata import read_metadata
from rfdetr_mm.deploy.tflite.convert import quantise
from rfdetr_mm.deploy.tflite.wrapper import TFLiteWrapper
from rfdetr_mm.errors import InputError
from rfdetr_runtime import load

pytest.importorskip('litert_torch')
pytest.importorskip('ai_edge_quantizer')

BATCH_SIZE = 2  # of the file


def tflite_export(folder, seg):
    cfg = config(seg)
    model = build(cfg)
    deploy_cfg = deploy_config(
        ('detection', 'instance-seg')[seg],
        'tflite',
        input_size=HW,
        batch_size=BATCH_SIZE,
    )
    checkpoint = save(model, folder / 'weights.pth')
    files = export(cfg, checkpoint, deploy_cfg, folder / 'out')
    return cfg, model, deploy_cfg, files[0]


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    return tflite_export(tmp_path_factory.mktemp('tflite'), seg=False)


def largest_differences(outputs, model, x):
    """Of boxes in px and of scores, over detections of equal rank."""
    wanted = predict(model, x)
    boxes = torch.stack([detections.bboxes for detections in wanted])
    scores = torch.stack([detections.scores for detections in wanted])
    dets = outputs['dets']
    return (
        (dets[..., :4] - boxes).abs().max().item(),
        (dets[..., 4] - scores).abs().max().item(),
    )


@pytest.mark.parametrize('batch_size', [1, 3])  # less and more than the file's
def test_float32_file_equals_pytorch(exported, batch_size):
    _, model, _, file = exported
    x = images(batch_size)
    outputs = TFLiteWrapper(file, ['dets', 'labels'])({'input': x})
    box_px, score = largest_differences(outputs, model, x)
    assert box_px < 1e-3
    assert score < 1e-5
    labels = torch.stack([d.labels for d in predict(model, x)])
    assert torch.equal(outputs['labels'].long(), labels)
    # Other images must not pass.
    box_px, score = largest_differences(outputs, model, images(batch_size) + 1)
    assert box_px > 0.05
    assert score > 1e-4


def test_mmdeploy_runs_the_file_as_a_detector(exported):
    cfg, model, deploy_cfg, file = exported
    task = build_task_processor(cfg, deploy_cfg, 'cpu')
    backend_model = task.build_backend_model([str(file)])
    x = images(1)
    dets, labels = backend_model.predict(x)
    assert dets.shape == (1, 10, 5)
    assert largest_differences({'dets': dets}, model, x)[0] < 1e-3
    assert labels.max() < len(CLASSES)


def test_file_knows_its_model(exported):
    facts = read_metadata(exported[3])
    assert facts['class_names'] == '["cat", "dog", "emu"]'
    assert facts['resolution'] == '[64, 96]'
    assert facts['precision'] == 'fp32'
    # The torch-free way, without mmdeploy
    model = load(exported[3])
    assert model.facts.resize_kernel == 'validation'
    assert model.task == 'detection' and model.batch_size == BATCH_SIZE
    x, sizes = images(3), [HW, (50, 84), HW]
    found = model.detect(x.numpy(), sizes)
    for ours, hw, wanted in zip(found, sizes, predict(exported[1], x)):
        scale = np.array([hw[1] / HW[1], hw[0] / HW[0]] * 2)
        np.testing.assert_allclose(ours.xyxy, wanted.bboxes * scale, atol=0.01)
        np.testing.assert_allclose(ours.confidence, wanted.scores, atol=1e-5)


def test_file_of_other_classes_is_refused(exported):
    cfg, _, deploy_cfg, file = exported
    other = cfg.copy()
    other.model.bbox_head.num_classes = 4
    task = build_task_processor(other, deploy_cfg, 'cpu')
    with pytest.raises(InputError, match='3 classes.*num_classes=4'):
        task.build_backend_model([str(file)])


def test_images_of_another_size_are_refused(exported):
    runner = TFLiteWrapper(exported[3])
    with pytest.raises(InputError, match='takes images of shape'):
        runner({'input': images(1, HW[::-1])})


@pytest.mark.parametrize(
    ('precision', 'box_px', 'score', 'smaller'),
    [
        ('fp16', 0.1, 1e-3, 0.9),
        ('int8-dynamic', 5, 0.05, 0.8),
        ('int8', 5, 0.05, 0.85),
    ],
)
def test_quantised_files_are_smaller_and_near(
    exported, tmp_path, precision, box_px, score, smaller
):
    _, model, _, file = exported
    content = file.read_bytes()
    calibration = (images(1, seed=seed).numpy() for seed in (1, 2, 3))
    small = tmp_path / 'small.tflite'
    small.write_bytes(quantise(content, precision, calibration))
    assert small.stat().st_size < smaller * len(content)
    x = images(2)
    outputs = TFLiteWrapper(small, ['dets', 'labels'])({'input': x})
    reference = TFLiteWrapper(file, ['dets', 'labels'])({'input': x})
    # The sets of scores: ranks of near scores may change.
    wanted = reference['dets'][..., 4].sort().values
    given = outputs['dets'][..., 4].sort().values
    assert (given - wanted).abs().max() < score
    assert not torch.equal(given, wanted)
    assert nearest_boxes(outputs, reference).median() < box_px


def nearest_boxes(outputs, reference):
    """Of every detection, px to the nearest box of the reference."""
    distances = torch.cdist(
        outputs['dets'][..., :4], reference['dets'][..., :4], p=float('inf')
    )
    return distances.min(dim=-1).values


def test_calibration_images_of_another_size_are_refused(exported):
    content = exported[3].read_bytes()
    with pytest.raises(InputError, match='images for calibration'):
        quantise(content, 'int8', [np.zeros((1, 3, 32, 32), np.float32)])


@pytest.mark.slow
def test_masks_equal_pytorch(tmp_path):
    cfg, model, deploy_cfg, file = tflite_export(tmp_path, seg=True)
    x = images(1)
    names = ['dets', 'labels', 'masks']
    outputs = TFLiteWrapper(file, names)({'input': x})
    assert largest_differences(outputs, model, x)[0] < 1e-3
    task = build_task_processor(cfg, deploy_cfg, 'cpu')
    assert task.build_backend_model([str(file)]).output_names == names
    (wanted,) = predict(model, x)
    masks = torch.nn.functional.interpolate(
        outputs['masks'], size=HW, mode='bilinear', align_corners=False
    )
    assert ((masks[0] > 0) != wanted.masks).float().mean() < 1e-3
