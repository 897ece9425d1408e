"""Truth beside detections, with headings, names and readable colours."""

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from rfdetr_mm.engine import visualizer as module
from rfdetr_runtime.painting import colour_of

HW = (90, 160)
IMAGE = np.full((*HW, 3), 100, np.uint8)
BAND = 16  # px of a heading


@pytest.fixture
def texts(monkeypatch):
    """What is written above pictures and into them."""
    written = []
    for name in ('with_heading', 'with_note'):
        original = getattr(module, name)

        def spy(image, *texts, _original=original):
            written.append(texts)
            return _original(image, *texts)

        monkeypatch.setattr(module, name, spy)
    return written


def sample(scores=(0.9, 0.2)):
    result = DetDataSample(metainfo=dict(img_path='/data/x/cells 7.jpg'))
    result.gt_instances = InstanceData(
        bboxes=torch.tensor([[10.0, 20, 40, 50]]), labels=torch.tensor([1])
    )
    result.pred_instances = InstanceData(
        bboxes=torch.tensor([[11.0, 20, 40, 50], [90, 40, 120, 80]]),
        labels=torch.tensor([1, 0]),
        scores=torch.tensor(scores),
    )
    return result


def paint(given=None, meta=None, **options):
    visualizer = VISUALIZERS.build(
        dict(type='ReadableDetVisualizer', name='readable')
    )
    visualizer.notes = options.pop('notes', True)
    palette = CocoDataset.METAINFO['palette']
    visualizer.dataset_meta = meta or dict(
        classes=('RBC', 'WBC'), palette=palette
    )
    visualizer.add_datasample('x', IMAGE, given or sample(), **options)
    return visualizer.get_image()


def test_truth_and_detections_have_headings(texts):
    painted = paint(pred_score_thr=0.3)
    assert painted.shape == (HW[0] + BAND, 2 * HW[1], 3)
    assert texts == [
        ('truth: 1 object', 'cells 7.jpg'),
        ('detections above 0.3: 1', 'cells 7.jpg'),
    ]


def test_no_detection_says_so(texts):
    paint(sample((0.1, 0.2)), pred_score_thr=0.3)
    assert texts[1] == ('no detection above 0.3', 'cells 7.jpg')
    alone = paint(sample((0.1, 0.2)), pred_score_thr=0.3, draw_gt=False)
    assert texts[2] == ('no detection above 0.3',)
    assert alone.shape == IMAGE.shape and (alone != IMAGE).any()
    quiet = paint(
        sample((0.1, 0.2)), pred_score_thr=0.3, draw_gt=False, notes=False
    )
    assert (quiet == IMAGE).all()


def test_one_side_has_the_size_of_the_image(texts):
    assert paint(draw_gt=False).shape == IMAGE.shape
    assert paint(draw_pred=False).shape == IMAGE.shape
    assert texts == []


def test_colours(texts):
    painted = paint(draw_pred=False)
    assert tuple(painted[35, 10]) == colour_of(1)
    own = paint(
        draw_pred=False,
        meta=dict(classes=('a', 'b'), palette=[(1, 2, 3), (4, 5, 6)]),
    )
    assert tuple(own[35, 10]) == (4, 5, 6)


@pytest.mark.parametrize('kind', ['tensor', 'array', 'mmdet'])
def test_masks_of_all_kinds(kind):
    given = sample()
    masks = np.zeros((1, *HW), np.uint8)
    masks[0, 25:45, 15:35] = 1
    given.gt_instances.masks = dict(
        tensor=torch.from_numpy(masks).bool(),
        array=masks.astype(bool),
        mmdet=BitmapMasks(masks, *HW),
    )[kind]
    painted = paint(given, draw_pred=False)
    assert tuple(painted[25, 20]) == colour_of(1)
    del given.gt_instances.bboxes
    assert tuple(paint(given, draw_pred=False)[25, 20]) == colour_of(1)


def test_no_objects_and_no_names():
    given = sample()
    given.gt_instances = given.gt_instances[:0]
    given.pred_instances = given.pred_instances[:0]
    assert paint(given).shape == (HW[0] + BAND, 2 * HW[1], 3)
    assert (paint(None, dict(classes=None), draw_pred=False) != IMAGE).any()
