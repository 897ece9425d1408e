"""The keypoint configs build, and their places agree."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

ROOT = Path(__file__).parents[2] / 'configs' / 'rfdetr_pose'


def read(name: str) -> Config:
    return Config.fromfile(ROOT / f'rfdetr-pose_{name}.py')


def build(cfg):
    with (
        DefaultScope.overwrite_default_scope('mmdet'),
        torch.device('meta'),
    ):
        return MODELS.build(cfg.model)


def test_parameter_count():
    """Upstream's, without 90 of 91 class rows in 14 classifiers."""
    model = build(read('preview_coco'))
    count = sum(p.numel() for p in model.parameters())
    assert count == 41_044_470 - 90 * (256 + 1) * 14


@pytest.mark.parametrize('name', ['preview_coco', 'tiny_figures'])
def test_places_agree(name):
    cfg = read(name)
    head = cfg.model.bbox_head
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        kinds = [step.type for step in dataset.pipeline]
        assert 'LoadPoseAnnotations' in kinds
        assert kinds[-1] == 'PackPoseInputs'
        assert 'RandomFlip' not in kinds
        assert len(dataset.metainfo.classes) == head.num_classes
    assert len(head.num_keypoints) == head.num_classes
    assert cfg.val_evaluator.type == cfg.test_evaluator.type
    assert cfg.default_hooks.checkpoint.save_best == 'coco/keypoint_mAP'
    per_img = cfg.model.test_cfg.max_per_img
    assert per_img <= head.num_queries * head.num_classes
    assert cfg.tta_model is None


@pytest.mark.parametrize('name', ['preview_coco', 'tiny_figures'])
def test_losses_and_costs_are_upstreams_pairs(name):
    model = read(name).model
    costs = [c.type for c in model.train_cfg.assigner.match_costs]
    for term in ('L1', 'Findable', 'Visible', 'NLL'):
        assert f'Keypoint{term}Cost' in costs
        loss = model.bbox_head[f'loss_keypoint_{term.lower()}']
        assert loss.type == f'Keypoint{term}Loss'


def test_numbers_of_preview():
    cfg = read('preview_coco')
    size = cfg.image_size
    assert cfg.model.backbone.img_size == size == 576
    for pipeline in (cfg.train_pipeline, cfg.test_pipeline):
        scales = [s.scale for s in pipeline if s.type == 'RFDETRResize']
        assert scales == [(size, size)]
    assert cfg.model.bbox_head.num_keypoints == (17,)
    assert cfg.model.bbox_head.loss_cls.loss_weight == 2.0
    assert cfg.model.test_cfg.trace_alpha == 0.2
