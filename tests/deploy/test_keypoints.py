"""The exported keypoint model beside PyTorch's, on H != W."""

import numpy as np
import pytest
import torch
from mmdeploy.apis import build_task_processor
from mmdet.structures import DetDataSample
from small_export import (
    CLASSES,
    HW,
    NUM_KEYPOINTS,
    NUM_QUERIES,
    build,
    config,
    export_to,
    images,
    predict,
    run,
    save,
)

from rfdetr_mm.deploy.export import deploy_config, export
from rfdetr_mm.errors import InputError
from rfdetr_runtime import load

SLOTS = len(NUM_KEYPOINTS) * max(NUM_KEYPOINTS)
ORIGINAL = (128, 288)


@pytest.fixture(scope='module')
def model():
    return build(config(pose=True))


@pytest.fixture(scope='module', params=['raw', 'end2end'])
def exported(request, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    file, deploy_cfg = export_to(
        folder,
        config(pose=True),
        model,
        layout=request.param,
        dynamic_batch=True,
    )
    return request.param, file, deploy_cfg


@torch.no_grad()
def test_raw_outputs_are_the_models(exported, model):
    """Boxes, class rows of upstream, keypoints in upstream's layout."""
    layout, file, _ = exported
    if layout != 'raw':
        pytest.skip('of the other layout')
    x = images(3)
    found = run(file, x)
    scores, boxes, keypoints = (
        output[-1].numpy() for output in model(x, mode='tensor')
    )
    assert found['keypoints'].shape == (3, NUM_QUERIES, SLOTS, 8)
    close = dict(atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(found['dets'], boxes, **close)
    np.testing.assert_allclose(found['labels'][..., :-1], scores, **close)
    np.testing.assert_allclose(found['keypoints'], keypoints, **close)


@torch.no_grad()
def test_detections_are_the_models(exported, model):
    """Behind mmdeploy's interface, in pixels of the original image."""
    _, file, deploy_cfg = exported
    backend = build_task_processor(
        config(pose=True), deploy_cfg, 'cpu'
    ).build_backend_model([str(file)])
    x = images(2)
    scale = (HW[1] / ORIGINAL[1], HW[0] / ORIGINAL[0])
    samples = [
        DetDataSample(
            metainfo=dict(img_shape=HW, ori_shape=ORIGINAL, scale_factor=scale)
        )
        for _ in x
    ]
    expected = predict(model, x, ORIGINAL, scale)
    for sample, theirs in zip(backend(x, samples), expected):
        ours = sample.pred_instances
        assert torch.equal(ours.labels, theirs.labels)
        for name, atol in (
            ('scores', 1e-4),
            ('bboxes', 0.05),
            ('keypoints', 0.05),
            ('keypoint_scores', 1e-4),
            ('keypoint_precision', 1e-3),
        ):
            torch.testing.assert_close(
                ours[name], theirs[name], atol=atol, rtol=0, equal_nan=True
            )


@pytest.mark.parametrize(
    ('backend', 'layout'),
    [
        ('onnxruntime', 'end2end'),
        ('onnxruntime', 'raw'),
        ('openvino', 'end2end'),
        ('openvino', 'raw'),
        ('tflite', 'end2end'),
        ('tflite', 'raw'),
    ],
)
def test_every_kind_of_file_predicts_by_itself(
    model, tmp_path, backend, layout
):
    """By rfdetr_runtime, without torch: the detections of PyTorch."""
    wanted = dict(openvino='openvino', tflite='litert_torch')
    if backend in wanted:
        pytest.importorskip(wanted[backend])
    deploy_cfg = deploy_config('pose', backend, input_size=HW, layout=layout)
    checkpoint = save(model, tmp_path / 'weights.pth')
    files = export(config(pose=True), checkpoint, deploy_cfg, tmp_path / 'out')
    exported = load(files[0])
    assert exported.task == 'keypoints'
    assert exported.facts.num_keypoints == NUM_KEYPOINTS
    x = images(2)
    scale = (HW[1] / ORIGINAL[1], HW[0] / ORIGINAL[0])
    found = [
        exported.detect(image[None].numpy(), [ORIGINAL], -1.0)[0]
        for image in x
    ]
    for ours, theirs in zip(found, predict(model, x, ORIGINAL, scale)):
        assert ours.class_id.tolist() == theirs.labels.tolist()
        for values, expected, atol in (
            (ours.xyxy, theirs.bboxes, 0.05),
            (ours.confidence, theirs.scores, 1e-4),
            (ours.data['keypoints'][..., :2], theirs.keypoints, 0.05),
            (ours.data['keypoints'][..., 2], theirs.keypoint_scores, 1e-4),
            (
                ours.data['keypoint_precision_cholesky'],
                theirs.keypoint_precision,
                1e-3,
            ),
        ):
            np.testing.assert_allclose(values, expected, atol=atol, rtol=0)
    # The negative control: the other image's keypoints are others.
    first, second = (x.data['keypoints'] for x in found)
    assert abs(first - second).max() > 0.05


def test_one_class_and_shared_maps(tmp_path):
    """No mask of classes, and a neck that gives one half."""
    cfg = config(pose=True)
    cfg.model.neck.type = 'MultiScaleProjector'
    cfg.model.bbox_head.update(num_classes=1, num_keypoints=(4,))
    cfg.test_dataloader.dataset.metainfo = dict(classes=('fish',))
    cfg.model.test_cfg.max_per_img = NUM_QUERIES
    model = build(cfg)
    checkpoint = save(model, tmp_path / 'weights.pth', ('fish',))
    deploy_cfg = deploy_config(
        'pose', 'onnxruntime', input_size=HW, layout='raw'
    )
    (file,) = export(cfg, checkpoint, deploy_cfg, tmp_path / 'out')
    x = images(1)
    with torch.no_grad():
        expected = model(x, mode='tensor')[2][-1].numpy()
    np.testing.assert_allclose(run(file, x)['keypoints'], expected, atol=1e-4)


@pytest.mark.parametrize('task', ['detection', 'instance-seg'])
def test_deploy_configs_of_other_tasks_are_refused(task):
    with pytest.raises(InputError, match='configs/deploy/pose'):
        build_task_processor(
            config(pose=True), deploy_config(task, 'onnxruntime'), 'cpu'
        )


def test_without_decoder_layers_there_is_no_export(tmp_path):
    cfg = config(pose=True)
    cfg.model.test_cfg.num_layers = 0
    with pytest.raises(InputError, match='num_layers'):
        export_to(tmp_path, cfg, build(cfg))
    assert len(CLASSES) == len(NUM_KEYPOINTS)
