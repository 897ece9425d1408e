"""tools/train.py killed from outside and resumed: the real model."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.data_factory import CLASSES, write_coco
from tests.small_run import result, same

ROOT = Path(__file__).parents[2]
SIZES = [(60, 90), (90, 60), (50, 70), (64, 64), (80, 50), (48, 100)]
CONFIG = """
_base_ = {base!r}
image_size = 64
model = dict(
    backbone=dict(arch='tiny', img_size=image_size, drop_path_rate=0.2),
    neck=dict(in_channels=[192] * 4, out_channels=64),
    bbox_head=dict(
        num_classes={num_classes}, num_queries=8, num_groups=2,
        embed_dims=64,
        decoder=dict(num_layers=1, feedforward_channels=64)),
    test_cfg=dict(max_per_img=10))
data = dict(
    data_root={data_root!r}, ann_file='annotations.json',
    data_prefix=dict(img='images/'), metainfo=dict(classes={classes!r}))
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
for transform in train_pipeline + test_pipeline:
    if transform['type'] == 'RFDETRResize':
        transform['scale'] = (image_size, image_size)
del transform
loader = dict(num_workers=2, persistent_workers=True)
train_dataloader = dict(
    batch_size=2, dataset=dict(pipeline=train_pipeline, **data), **loader)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **data), **loader)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={ann_file!r})
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=3)
randomness = dict(seed=5)
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=2))
"""
# Upstream's multi-scale sizes, accumulated gradients, both weights validated
# in some epochs only, and dropped paths that are scheduled.
MORE = """
model.update(data_preprocessor=dict(batch_augments=[dict(
    type='BatchMultiScaleResize', img_size=image_size, patch_size=16,
    num_windows=2, expanded=False, interval=2, largest_first=True)]))
for transform in train_pipeline:
    if transform['type'] == 'RFDETRResize':
        transform['scale'] = (192, 192)
del transform
optim_wrapper = dict(accumulative_counts=2)
train_cfg.update(val_interval=2)
val_cfg = dict(type='TwoWeightsValLoop')
default_hooks['checkpoint'].update(
    save_best=['coco/bbox_mAP', 'plain/coco/bbox_mAP'])
custom_hooks = _base_.custom_hooks + [
    dict(type='DropPathHook', rate=0.2, mode='early-linear', cutoff_epoch=2)]
"""


def start(folder, work_dir):
    log = open(folder / f'{work_dir}.txt', 'a')
    command = [sys.executable, str(ROOT / 'tools/train.py'), 'tiny.py']
    return subprocess.Popen(
        [*command, '--work-dir', work_dir, '--resume'],
        cwd=folder,
        env=dict(os.environ, CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1'),
        stdout=log,
        stderr=log,
    )


def finish(folder, work_dir):
    assert start(folder, work_dir).wait() == 0, (
        folder / f'{work_dir}.txt'
    ).read_text()[-3000:]
    return result(folder / work_dir)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('more', 'num_iters', 'waits'),
    [('', 9, (0.0, 0.15, 0.4)), (MORE, 12, (0.1,))],
    ids=['plain', 'more'],
)
def test_killed_from_outside(tmp_path, more, num_iters, waits):
    data_root = write_coco(tmp_path / 'data', SIZES, empty=(2,))
    (tmp_path / 'tiny.py').write_text(
        CONFIG.format(
            base=str(ROOT / 'configs/rfdetr/rfdetr_nano_coco.py'),
            num_classes=len(CLASSES),
            data_root=str(data_root),
            ann_file=str(data_root / 'annotations.json'),
            classes=CLASSES,
        )
        + more
    )
    expected = finish(tmp_path, 'calm')
    assert expected['position'][1] == num_iters
    work_dir = tmp_path / 'killed'
    for wait in waits:
        process = start(tmp_path, 'killed')
        before = {p.name for p in work_dir.glob('iter_*')}
        while {p.name for p in work_dir.glob('iter_*')} <= before:
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    found = finish(tmp_path, 'killed')
    wrong = [key for key in expected if not same(found[key], expected[key])]
    assert wrong == []
    weights = expected['state_dict']
    assert all(torch.isfinite(value).all() for value in weights.values())
