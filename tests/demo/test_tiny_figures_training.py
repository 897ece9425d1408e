"""The config of the figures trains, validates, tests and resumes."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from tests.small_run import same

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    """Two epochs of two iterations."""
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
    cfg.train_cfg.update(max_epochs=2, val_interval=1)
    cfg.work_dir = str(folder / 'work')
    return cfg


@pytest.fixture(scope='module')
def trained(cfg):
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner, Path(cfg.work_dir).parent


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


def test_a_resumed_training_gives_the_same_bits(cfg, trained):
    """From the checkpoint of the first epoch on."""
    _, folder = trained
    cfg = cfg.copy()
    cfg.update(
        work_dir=str(folder / 'resumed'),
        load_from=str(folder / 'work/epoch_1.pth'),
        resume=True,
        experiment_name='resumed',
    )
    resumed = Runner.from_cfg(cfg)
    resumed.train()
    assert resumed.iter == 4
    first, second = (
        torch.load(folder / name / 'epoch_2.pth', weights_only=False)
        for name in ('work', 'resumed')
    )
    for name in ('state_dict', 'ema_state_dict', 'optimizer'):
        assert same(first[name], second[name]), name
    before = torch.load(folder / 'work/epoch_1.pth', weights_only=False)
    assert not same(before['state_dict'], second['state_dict'])
