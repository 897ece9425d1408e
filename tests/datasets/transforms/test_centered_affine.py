import random

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes

from rfdetr_mm.datasets.transforms import CenteredRandomAffine

NOTHING = dict(
    max_rotate_degree=0.0,
    max_translate_ratio=0.0,
    scaling_ratio_range=(1.0, 1.0),
    max_shear_degree=0.0,
)


def warp(h: int, w: int, boxes: list, **changes) -> dict:
    """Warp a black image with white boxes."""
    img = np.zeros((h, w, 3), dtype=np.uint8)
    for x1, y1, x2, y2 in boxes:
        img[y1:y2, x1:x2] = 255
    return CenteredRandomAffine(**{**NOTHING, **changes}).transform(
        dict(
            img=img,
            img_shape=(h, w),
            gt_bboxes=HorizontalBoxes(
                torch.tensor(boxes).reshape(-1, 4).float()
            ),
            gt_bboxes_labels=np.arange(len(boxes)),
            gt_ignore_flags=np.zeros(len(boxes), dtype=bool),
        )
    )


@pytest.mark.parametrize(
    'changes',
    [
        dict(max_rotate_degree=40.0),
        dict(scaling_ratio_range=(0.5, 1.5)),
        dict(max_shear_degree=20.0),
    ],
)
def test_the_middle_stays(changes):
    random.seed(0)
    boxes = set()
    for _ in range(30):
        results = warp(60, 100, [[40, 20, 60, 40]], **changes)
        box = results['gt_bboxes'].tensor[0]
        centre = (box[:2] + box[2:]) / 2
        torch.testing.assert_close(centre, torch.tensor([50.0, 30.0]))
        assert results['img'][30, 50, 0] > 200
        assert results['img'].shape == (60, 100, 3)
        boxes.add(tuple(box.tolist()))
    assert len(boxes) == 30


def test_boxes_enclose_what_they_enclosed():
    random.seed(1)
    kept = []
    for _ in range(60):
        results = warp(
            60,
            100,
            [[5, 8, 25, 20]],
            max_rotate_degree=30.0,
            max_translate_ratio=0.3,
            scaling_ratio_range=(0.8, 1.2),
        )
        boxes = results['gt_bboxes'].tensor
        kept.append(len(boxes))
        assert len(results['gt_bboxes_labels']) == len(boxes)
        rows, columns = (results['img'][..., 0] > 200).nonzero()
        if len(rows):
            assert len(boxes) == 1
            x1, y1, x2, y2 = boxes[0].tolist()
            assert x1 - 1 <= columns.min() and columns.max() <= x2 + 1
            assert y1 - 1 <= rows.min() and rows.max() <= y2 + 1
    assert set(kept) == {0, 1}


def test_no_boxes():
    results = warp(30, 50, [], max_rotate_degree=30.0)
    assert results['gt_bboxes'].tensor.shape == (0, 4)
