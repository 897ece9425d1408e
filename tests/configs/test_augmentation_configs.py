"""Upstream's augmentation presets, switched on as their comments say."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from tests.data_factory import CLASSES, COLOURS, write_coco

ROOT = Path(__file__).parents[2] / 'configs'
PRESETS = sorted(ROOT.glob('_base_/augmentations/*.py'))


@pytest.fixture(autouse=True, scope='module')
def mmdet_scope():
    """Look names up in mmdet's registries, as a Runner does."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def config_of_the_comment(preset: Path, folder: Path) -> Config:
    """Read the config that the head of a preset shows."""
    lines = re.findall(r'^#     (.*)', preset.read_text(), re.MULTILINE)
    text = '\n'.join(lines) + '\n'
    assert preset.name in text
    text = text.replace('"./', f'"{ROOT}/rfdetr/').replace('"../', f'"{ROOT}/')
    file = folder / 'mine.py'
    file.write_text(text)
    return Config.fromfile(file)


def test_presets_are_upstreams():
    assert [preset.stem for preset in PRESETS] == [
        'aerial',
        'aggressive',
        'conservative',
        'industrial',
    ]


@pytest.mark.parametrize('preset', PRESETS, ids=lambda preset: preset.stem)
def test_boxes_follow_the_pixels(preset, tmp_path):
    cfg = config_of_the_comment(preset, tmp_path)
    pipeline = cfg.train_dataloader.dataset.pipeline
    assert pipeline == cfg.train_pipeline
    assert [t.type for t in pipeline].count('RandomFlip') == 1
    assert pipeline[-1].type == 'PackDetInputs'
    pipeline[3].scale = (96, 96)
    cfg.train_dataloader.dataset.update(
        data_root=str(
            write_coco(
                tmp_path / 'set',
                [(60, 90), (90, 60), (50, 50)],
                empty=(2,),
                objects_per_image=1,
                seed=2,
            )
        ),
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=CLASSES),
    )
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    np.random.seed(0)
    right, images = [], set()
    for draw in range(120):
        sample = dataset[draw % 3]
        image = sample['inputs']
        images.add(image.numpy().tobytes())
        assert image.shape == (3, 96, 96) and image.dtype == torch.uint8
        truth = sample['data_samples'].gt_instances
        assert draw % 3 < 2 or len(truth) == 0
        for box, label in zip(truth.bboxes.tensor, truth.labels):
            assert 0 <= box.min() and box.max() <= 96
            assert (box[2:] > box[:2]).all()
            x, y = ((box[:2] + box[2:]) / 2).long().tolist()
            rgb = image[:, y, x].flip(0).int()
            distances = [
                (rgb - torch.tensor(colour)).abs().max() for colour in COLOURS
            ]
            right.append(distances[label] == min(distances))
    assert len(images) > 60
    # A rotated object at the border may be cut off at its middle.
    assert len(right) > 60 and np.mean(right) > 0.95


@pytest.mark.parametrize('preset', PRESETS, ids=lambda preset: preset.stem)
def test_images_that_lose_their_objects_stay(preset):
    np.random.seed(0)
    random.seed(0)
    augment = Compose(Config.fromfile(preset).augmentations)
    lost = 0
    for _ in range(120):
        boxes = HorizontalBoxes(torch.tensor([[0.0, 0, 8, 8]]))
        results = augment(
            dict(
                img=np.zeros((96, 96, 3), dtype=np.uint8),
                img_shape=(96, 96),
                gt_bboxes=boxes,
                gt_bboxes_labels=np.array([1]),
                gt_ignore_flags=np.array([False]),
            )
        )
        left = len(results['gt_bboxes'])
        assert len(results['gt_bboxes_labels']) == left
        assert len(results['gt_ignore_flags']) == left
        lost += left == 0
    assert (lost > 0) == (preset.stem == 'aggressive')
