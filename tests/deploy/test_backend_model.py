"""Exported files behind mmdet's interface give what the model gives."""

import pytest
import torch
from mmdeploy.apis import build_task_processor
from mmdet.structures import DetDataSample
from small_export import HW, build, config, export_to, images, predict

from rfdetr_mm.errors import InputError

ORI_HW = (50, 84)
SCALE_WH = (HW[1] / ORI_HW[1], HW[0] / ORI_HW[0])


@pytest.fixture(scope='module', params=['end2end', 'raw'])
def exported(request, tmp_path_factory):
    """A model with masks, its file and deploy config."""
    cfg = config(seg=True)
    model = build(cfg)
    folder = tmp_path_factory.mktemp(request.param)
    file, deploy_cfg = export_to(folder, cfg, model, layout=request.param)
    return cfg, model, file, deploy_cfg


def test_detections_and_masks_of_the_original_image(exported):
    cfg, model, file, deploy_cfg = exported
    task = build_task_processor(cfg, deploy_cfg, 'cpu')
    backend = task.build_backend_model([str(file)])
    meta = dict(img_shape=HW, ori_shape=ORI_HW, scale_factor=SCALE_WH)
    sample = DetDataSample(metainfo=meta)
    (sample,) = backend(images(), [sample], mode='predict')
    found = sample.pred_instances
    (expected,) = predict(model, images(), ORI_HW, SCALE_WH)
    torch.testing.assert_close(
        found.bboxes, expected.bboxes, atol=0.05, rtol=0
    )
    torch.testing.assert_close(
        found.scores, expected.scores, atol=1e-3, rtol=0
    )
    assert found.labels.equal(expected.labels)
    assert found.masks.shape == (len(found), *ORI_HW)
    assert (found.masks == expected.masks).float().mean() > 0.999


def test_other_class_count_is_refused(exported):
    cfg, _, file, deploy_cfg = exported
    cfg = cfg.copy()
    cfg.model.bbox_head.num_classes = 5
    task = build_task_processor(cfg, deploy_cfg, 'cpu')
    with pytest.raises(InputError, match='with 3 classes.*num_classes=5'):
        task.build_backend_model([str(file)])
    cfg.model.bbox_head.num_classes = 3
