"""The config of the figures trains, validates and tests, on a few images."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    sys.path.insert(0, str(ROOT / 'demo'))
    try:
        from tiny_figures import write_tiny_figures
    finally:
        sys.path.pop(0)
    folder = tmp_path_factory.mktemp('figures')
    write_tiny_figures(folder, {'train': 8, 'val': 4, 'test': 4})
    cfg = Config.fromfile(
        ROOT / 'configs/rfdetr_pose/rfdetr-pose_tiny_figures.py'
    )
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(folder)
        cfg[f'{split}_dataloader'].batch_size = 4
    for split in ('val', 'test'):
        cfg[f'{split}_evaluator'].ann_file = str(folder / f'{split}.json')
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.work_dir = str(folder / 'work')
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner, folder


def test_losses_and_metrics_are_finite(trained):
    runner, folder = trained
    scalars = runner.message_hub.log_scalars
    for name in ('train/loss_keypoint_nll', 'val/coco/keypoint_mAP_50'):
        value = scalars[name].current()
        assert value == value, name
    metrics = runner.test()
    assert {'coco/keypoint_mAP', 'coco/keypoint_mAR', 'coco/bbox_mAP'} <= set(
        metrics
    )
    (best,) = (folder / 'work').glob('best_coco_keypoint_mAP_*.pth')
    meta = torch.load(best, weights_only=False)['meta']['dataset_meta']
    assert meta['classes'] == ('walker', 'kite')
    assert tuple(meta['num_keypoints']) == (5, 4)


def test_the_average_has_the_schema(trained):
    """Buffers that are no floats are copied, not averaged."""
    runner, _ = trained
    hook = next(h for h in runner.hooks if hasattr(h, 'ema_model'))
    average = hook.ema_model.module.bbox_head.active_keypoints
    model = runner.model.bbox_head.active_keypoints
    assert average.dtype == torch.bool and torch.equal(average, model)
