"""Masks lie where the pixels of their objects are, whatever is done."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.logging import MessageHub
from PIL import Image
from pycocotools import mask as coco_mask

from tests.data_factory import CLASSES, COLOURS, write_coco

ROOT = Path(__file__).parents[2] / 'configs'
SIZES_HW = [(60, 90), (90, 60), (50, 50)]
SIDE = 96  # px
PRESETS = ['aerial', 'conservative', 'industrial']  # not aggressive: boxes


def colour_mask(image, label):
    """Where an RGB image (h, w, 3) has the colour of a class."""
    distance = np.abs(image.astype(int) - COLOURS[label]).max(axis=2)
    return distance < 50


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """One object an image, as outline and encoded in turns."""
    folder = tmp_path_factory.mktemp('masks') / 'set'
    root = write_coco(folder, SIZES_HW, (2,), objects_per_image=1, seed=2)
    content = json.loads((root / 'annotations.json').read_text())
    names = {image['id']: image['file_name'] for image in content['images']}
    for number, annotation in enumerate(content['annotations']):
        path = root / 'images' / names[annotation['image_id']]
        label = {7: 0, 3: 1}[annotation['category_id']]
        mask = colour_mask(np.array(Image.open(path)), label)
        rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        annotation['segmentation'] = dict(
            size=list(mask.shape), counts=rle['counts'].decode()
        )
        if number % 2 and label == 1:  # a square
            x, y, w, h = annotation['bbox']
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotation['segmentation'] = [corners]
    (root / 'annotations.json').write_text(json.dumps(content))
    return root


def build(root, pipeline):
    pipeline = copy.deepcopy(pipeline)
    pipeline[1].with_mask = True
    for transform in pipeline:
        if transform.type == 'RFDETRResize':
            transform.scale = (SIDE, SIDE)
    return DATASETS.build(
        dict(
            type='NamedCocoDataset',
            data_root=str(root),
            ann_file='annotations.json',
            data_prefix=dict(img='images/'),
            metainfo=dict(classes=CLASSES),
            pipeline=pipeline,
        )
    )


def overlaps(image, instances):
    """IoU of each large mask with the pixels of its class's colour.

    Args:
        image: uint8 in BGR, (3, h, w).
        instances: With bitmap masks of the same size, and labels.
    """
    rgb = image.flip(0).permute(1, 2, 0).numpy()
    assert instances.masks.masks.shape[1:] == rgb.shape[:2]
    ious = []
    for mask, label in zip(instances.masks.masks, instances.labels):
        mask = mask.astype(bool)
        seen = colour_mask(rgb, label)
        if mask.sum() > 100:
            ious.append((mask & seen).sum() / (mask | seen).sum())
    return ious


def drawn(dataset, num_draws=60):
    np.random.seed(0)
    torch.manual_seed(0)
    for draw in range(num_draws):
        yield dataset[draw % len(SIZES_HW)]


def base_pipeline():
    cfg = Config.fromfile(ROOT / 'rfdetr/rfdetr_nano_coco.py')
    return cfg.train_pipeline


@pytest.mark.parametrize('preset', [None, *PRESETS])
def test_the_training_pipeline(root, preset):
    pipeline = base_pipeline()
    if preset is not None:
        file = ROOT / f'_base_/augmentations/{preset}.py'
        pipeline[4:5] = Config.fromfile(file).augmentations
    ious, empty = [], 0
    for sample in drawn(build(root, pipeline)):
        instances = sample['data_samples'].gt_instances
        assert len(instances.masks) == len(instances.bboxes)
        ious += overlaps(sample['inputs'], instances)
        empty += len(instances) == 0
    assert empty >= 20  # the third image
    assert len(ious) > 20
    # Noise, blur and the edges of resized objects.
    assert np.mean(ious) > 0.9 and min(ious) > 0.6


def test_a_mask_that_is_not_flipped_fails(root):
    """A negative control of the test above."""
    ious = []
    for sample in drawn(build(root, base_pipeline())):
        instances = sample['data_samples'].gt_instances
        instances.masks = instances.masks.flip()
        ious += overlaps(sample['inputs'], instances)
    assert np.mean(ious) < 0.7


def test_multi_scale_in_batches(root):
    """The batch is resized after normalising; masks go along."""
    cfg = Config.fromfile(ROOT / 'rfdetr/rfdetr_nano_multi-scale_coco.py')
    augment = cfg.model.data_preprocessor.batch_augments[0]
    augment.update(img_size=64, patch_size=8, num_windows=1)
    processor = MODELS.build(
        dict(
            cfg.model.data_preprocessor,
            mean=[0, 0, 0],
            std=[1, 1, 1],
            bgr_to_rgb=False,
            pad_mask=True,
            pad_size_divisor=8,
        )
    )
    pipeline = base_pipeline()
    dataset = build(root, pipeline)
    largest = processor.batch_augments[0].sizes[-1]
    for transform in dataset.pipeline.transforms:
        if type(transform).__name__ == 'RFDETRResize':
            transform.scale = largest[::-1]
    hub = MessageHub.get_current_instance()
    ious, sizes = [], set()
    samples = list(drawn(dataset))
    for step in range(20):
        hub.update_info('iter', step)
        batch = samples[3 * step : 3 * step + 3]
        data = processor(
            dict(
                inputs=[sample['inputs'] for sample in batch],
                data_samples=[sample['data_samples'] for sample in batch],
            ),
            training=True,
        )
        sizes.add(tuple(data['inputs'].shape[-2:]))
        for image, sample in zip(data['inputs'], data['data_samples']):
            ious += overlaps(image.byte(), sample.gt_instances)
    assert len(sizes) > 3
    assert len(ious) > 10 and np.mean(ious) > 0.85
