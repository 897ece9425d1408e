import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from rfdetr_mm.datasets.transforms import RandomSquareCrop


def position_image(h: int, w: int) -> np.ndarray:
    """Pixels that say where they come from: (row, column, 0)."""
    rows, columns = np.mgrid[:h, :w].astype(np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], axis=2)


def crop(h: int, w: int, boxes=(), masks: bool = False, **sides) -> tuple:
    """One crop: its results, and the rows and columns it took."""
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    results = dict(
        img=position_image(h, w),
        img_shape=(h, w),
        gt_bboxes=HorizontalBoxes(torch.from_numpy(boxes.copy())),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_ignore_flags=np.zeros(len(boxes), dtype=bool),
    )
    if masks:
        bitmaps = np.zeros((len(boxes), h, w), dtype=np.uint8)
        for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes.astype(int)):
            bitmap[y1:y2, x1:x2] = 1
        results['gt_masks'] = BitmapMasks(bitmaps, h, w)
    results = RandomSquareCrop(**sides).transform(results)
    img = results['img']
    return results, img[:, 0, 0].tolist(), img[0, :, 1].tolist()


@pytest.mark.parametrize(
    'hw, sides, expected',
    [  # (h, w), (min_side, max_side), the range of the drawn sides
        ((90, 120), (30, 40), (30, 40)),
        ((90, 35), (30, 40), (30, 35)),
        ((35, 90), (30, 40), (30, 35)),
        ((90, 20), (30, 40), (20, 20)),
        ((40, 40), (40, 40), (40, 40)),
        ((12, 7), (1, 99), (1, 7)),
    ],
)
def test_sides_and_positions_cover_their_range(hw, sides, expected):
    np.random.seed(0)
    seen, corners = set(), set()
    for _ in range(600):
        results, rows, columns = crop(
            *hw, min_side=sides[0], max_side=sides[1]
        )
        side = len(rows)
        assert len(columns) == side
        assert results['img_shape'] == (side, side)
        assert rows == list(range(rows[0], rows[0] + side))
        assert columns == list(range(columns[0], columns[0] + side))
        seen.add(side)
        corners |= {('top', rows[0]), ('left', columns[0])}
        corners |= {('bottom', rows[-1]), ('right', columns[-1])}
    assert seen == set(range(expected[0], expected[1] + 1))
    assert {('top', 0), ('left', 0)} <= corners
    assert {('bottom', hw[0] - 1), ('right', hw[1] - 1)} <= corners


def test_boxes_by_brute_force():
    rng = np.random.default_rng(1)
    np.random.seed(1)
    kept = []
    for _ in range(150):
        h, w = rng.integers(20, 60, 2).tolist()
        corners = rng.integers(0, [w - 1, h - 1], (4, 2))
        far = [
            [rng.integers(x + 1, w + 1), rng.integers(y + 1, h + 1)]
            for x, y in corners
        ]
        boxes = np.concatenate([corners, far], axis=1)
        results, rows, columns = crop(
            h, w, boxes, masks=True, min_side=8, max_side=30
        )
        expected, labels, masks = [], [], []
        for label, (x1, y1, x2, y2) in enumerate(boxes):
            ys = [i for i, row in enumerate(rows) if y1 <= row < y2]
            xs = [i for i, column in enumerate(columns) if x1 <= column < x2]
            if ys and xs:
                expected.append([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1])
                labels.append(label)
                masks.append(len(ys) * len(xs))
        assert results['gt_bboxes'].tensor.tolist() == expected
        assert results['gt_bboxes_labels'].tolist() == labels
        assert len(results['gt_ignore_flags']) == len(labels)
        assert results['gt_masks'].areas.tolist() == masks
        kept.append(len(labels))
    assert set(kept) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize('boxes', [[], [[0, 0, 1, 1]]])
def test_nothing_may_be_left(boxes):
    np.random.seed(3)
    for _ in range(20):
        results, rows, columns = crop(50, 80, boxes, min_side=10, max_side=12)
        inside = len(boxes) * (rows[0] == 0 and columns[0] == 0)
        assert results['gt_bboxes'].tensor.shape == (inside, 4)
        assert results['gt_bboxes_labels'].shape == (inside,)


@pytest.mark.parametrize('sides', [(0, 5), (6, 5), (-1, -1)])
def test_bad_sides_are_explained(sides):
    with pytest.raises(ValueError, match=f'min_side={sides[0]}, max_side='):
        RandomSquareCrop(*sides)


def test_is_built_by_name():
    transform = TRANSFORMS.build(
        dict(type='RandomSquareCrop', min_side=384, max_side=600)
    )
    assert repr(transform) == 'RandomSquareCrop(min_side=384, max_side=600)'
