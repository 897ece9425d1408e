"""Evaluating masks takes the memory of one image, not of the data set."""

import ctypes
import gc
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation import DumpDetResults
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator

from rfdetr_mm.evaluation import NamedCocoMetric
from tests.models.dense_heads.test_rfdetr_ins_head import CLASSES, build

HEIGHT, WIDTH = 600, 800
MASK_HW = (45, 60)
NUM_DETECTIONS = 100
MASKS_OF_AN_IMAGE = NUM_DETECTIONS * HEIGHT * WIDTH  # bytes
NUM_IMAGES = 14
NAMES = tuple('abcd')


class KeepsMasks(NamedCocoMetric):
    def process(self, data_batch, data_samples):
        self.kept = getattr(self, 'kept', [])
        self.kept += [s['pred_instances']['masks'] for s in data_samples]
        super().process(data_batch, data_samples)


@pytest.fixture
def ann_file(tmp_path):
    """A rectangle in every image."""
    box = (100, 50, 300, 200)
    x, y, w, h = box
    corners = [x, y, x + w, y, x + w, y + h, x, y + h]
    ids = range(1, NUM_IMAGES + 1)
    content = dict(
        images=[
            dict(id=n, file_name=f'{n}.png', height=HEIGHT, width=WIDTH)
            for n in ids
        ],
        annotations=[
            dict(
                **dict(id=n, image_id=n, category_id=1, bbox=box, iscrowd=0),
                area=w * h,
                segmentation=[corners],
            )
            for n in ids
        ],
        categories=[dict(id=n, name=name) for n, name in enumerate(NAMES, 1)],
    )
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(content))
    return path


def detect(head, image_id):
    """Discs of all sizes through the head's post-processing."""
    rng = np.random.default_rng(image_id)
    y, x = np.mgrid[: MASK_HW[0], : MASK_HW[1]].astype(np.float32)
    centres = rng.uniform((0, 0), MASK_HW, (NUM_DETECTIONS, 2))
    distances = np.hypot(
        y - centres[:, 0, None, None], x - centres[:, 1, None, None]
    )
    radii = rng.uniform(1, 20, (NUM_DETECTIONS, 1, 1))
    mask_logits = torch.from_numpy(radii - distances).float()
    sample = DetDataSample(
        metainfo=dict(
            img_id=image_id,
            img_shape=(96, 128),
            ori_shape=(HEIGHT, WIDTH),
            scale_factor=(128 / WIDTH, 96 / HEIGHT),
        )
    )
    (sample.pred_instances,) = head.predict_by_feat(
        torch.randn(1, 1, NUM_DETECTIONS, CLASSES),
        torch.rand(1, 1, NUM_DETECTIONS, 4),
        mask_logits[None, None],
        [sample.metainfo],
    )
    return sample


def resident_bytes():
    """Without pages of files, which the system may drop at any time."""
    gc.collect()  # what earlier tests left
    ctypes.CDLL(None).malloc_trim(0)  # and what they freed
    status = Path('/proc/self/status').read_text()
    return int(status.split('RssAnon:')[1].split()[0]) * 1024


def growth(evaluator, num_images):
    """Resident bytes after ``num_images`` more than after the first two."""
    head = build(test_cfg=dict(max_per_img=NUM_DETECTIONS)).eval()
    sizes = []
    for image_id in range(1, num_images + 3):
        samples = [detect(head, image_id)]
        masks = samples[0].pred_instances.masks
        assert masks.shape == (NUM_DETECTIONS, HEIGHT, WIDTH)
        evaluator.process(data_samples=samples)
        del samples, masks
        sizes.append(resident_bytes())
    return sizes[-1] - sizes[1]


def test_masks_of_earlier_images_are_freed(ann_file, tmp_path):
    """With the metric and with ``tools/test.py --out``."""
    metric = NamedCocoMetric(str(ann_file), metric=['bbox', 'segm'])
    dump = DumpDetResults(str(tmp_path / 'found.pkl'))
    evaluator = Evaluator([metric, dump])
    evaluator.dataset_meta = dict(classes=NAMES)
    # Encoded, an image's 100 masks take some 30 kB in each of both.
    assert growth(evaluator, NUM_IMAGES - 2) < MASKS_OF_AN_IMAGE
    metrics = evaluator.evaluate(NUM_IMAGES)
    assert 0 <= metrics['coco/segm_mAP'] <= 1
    assert (tmp_path / 'found.pkl').stat().st_size < MASKS_OF_AN_IMAGE / 10


def test_kept_masks_are_noticed(ann_file):
    metric = KeepsMasks(str(ann_file), metric='segm')
    metric.dataset_meta = dict(classes=NAMES)
    assert growth(Evaluator([metric]), 4) > 3 * MASKS_OF_AN_IMAGE
