import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from rfdetr_mm.apis.slices import merge_slices, slice_windows
from rfdetr_mm.errors import InputError

HW = (230, 410)
PATCH_HW = (100, 120)


@pytest.mark.parametrize(
    'hw, patch_hw, overlap, expected',
    [
        ((50, 70), (100, 100), 0.25, [(0, 0, 70, 50)]),
        ((100, 100), (100, 100), 0.25, [(0, 0, 100, 100)]),
        (
            (50, 150),
            (100, 100),
            0.25,
            [(0, 0, 100, 50), (50, 0, 150, 50)],
        ),
        (
            (200, 100),
            (100, 100),
            0.0,
            [(0, 0, 100, 100), (0, 100, 100, 200)],
        ),
    ],
)
def test_windows(hw, patch_hw, overlap, expected):
    assert slice_windows(hw, patch_hw, overlap) == expected


@pytest.mark.parametrize('hw', [(230, 410), (411, 100), (101, 999)])
@pytest.mark.parametrize('overlap', [0.0, 0.2, 0.5, 0.9])
def test_windows_cover_the_image_and_overlap(hw, overlap):
    windows = slice_windows(hw, PATCH_HW, overlap)
    seen = np.zeros(hw, bool)
    for left, top, right, bottom in windows:
        assert 0 <= left < right <= hw[1] and 0 <= top < bottom <= hw[0]
        assert (bottom - top, right - left) == tuple(np.minimum(hw, PATCH_HW))
        seen[top:bottom, left:right] = True
    assert seen.all()
    for axis, patch in ((0, PATCH_HW[1]), (1, PATCH_HW[0])):
        starts = sorted({window[axis] for window in windows})
        for low, high in zip(starts, starts[1:]):
            assert patch - (high - low) >= int(overlap * patch)


@pytest.mark.parametrize(
    'patch_hw, overlap, message',
    [
        ((0, 10), 0.1, 'positive.*0 x 10'),
        ((10, -3), 0.1, 'positive.*10 x -3'),
        ((10, 10), 1.0, 'below 1, not 1.0'),
        ((10, 10), -0.1, 'not -0.1'),
    ],
)
def test_bad_windows(patch_hw, overlap, message):
    with pytest.raises(InputError, match=message):
        slice_windows(HW, patch_hw, overlap)


def seen_by_slices(boxes, labels, windows, noise=0.0, visible=0.0):
    """What an ideal detector finds in each slice, boxes and masks."""
    rng = np.random.default_rng(0)
    found = []
    for left, top, right, bottom in windows:
        rows = []
        for i, box in enumerate(boxes):
            x1, y1 = max(box[0], left), max(box[1], top)
            x2, y2 = min(box[2], right), min(box[3], bottom)
            area = max(x2 - x1, 0) * max(y2 - y1, 0)
            whole = (box[2] - box[0]) * (box[3] - box[1])
            if area > visible * whole:
                mask = np.zeros((bottom - top, right - left), bool)
                mask[y1 - top : y2 - top, x1 - left : x2 - left] = True
                part = np.array([x1, y1, x2, y2]) - [left, top, left, top]
                part = part + noise * rng.uniform(-1, 1, 4)
                score = 0.5 + 0.4 * area / whole + 0.001 * i
                rows.append((part, score, labels[i], mask))
        shape = (0, bottom - top, right - left)
        found.append(
            InstanceData(
                bboxes=torch.tensor(
                    np.array([r[0] for r in rows]).reshape(-1, 4)
                ).float(),
                scores=torch.tensor([r[1] for r in rows]),
                labels=torch.tensor([r[2] for r in rows], dtype=torch.long),
                masks=torch.tensor(
                    np.array([r[3] for r in rows] or np.zeros(shape, bool))
                ),
            )
        )
    return found


def scattered(seed, sizes):
    """Boxes that keep 2 px from each other, and labels."""
    rng = np.random.default_rng(seed)
    taken, boxes = np.zeros(HW, bool), []
    for _ in range(200):
        width, height = rng.integers(*sizes, 2)
        x = rng.integers(0, HW[1] - width)
        y = rng.integers(0, HW[0] - height)
        around = np.s_[
            max(y - 2, 0) : y + height + 2, max(x - 2, 0) : x + width + 2
        ]
        if not taken[around].any():
            taken[around] = True
            boxes.append((x, y, x + width, y + height))
    return boxes, rng.integers(0, 2, len(boxes)).tolist()


def assert_found_once(merged, boxes, labels, atol=0.0):
    expected = sorted(zip(boxes, labels))
    order = sorted(range(len(merged)), key=lambda i: merged.bboxes[i].tolist())
    assert len(merged) == len(expected)
    if atol == 0:
        assert merged.labels[order].tolist() == [
            label for _, label in expected
        ]
        torch.testing.assert_close(
            merged.bboxes[order],
            torch.tensor([box for box, _ in expected]).float(),
        )
    for box, label in expected:
        near = (merged.bboxes - torch.tensor(box)).abs().amax(1)
        assert near.min() <= atol
        assert merged.labels[near.argmin()] == label


@pytest.mark.parametrize('sizes', [(8, 25), (8, 60), (100, 190)])
@pytest.mark.parametrize('seed', range(4))
def test_every_object_is_found_once(seed, sizes):
    """Small ones, larger ones than the overlap, larger ones than a slice."""
    boxes, labels = scattered(seed, sizes)
    windows = slice_windows(HW, PATCH_HW, 0.25)
    found = seen_by_slices(boxes, labels, windows)
    assert sum(map(len, found)) > len(boxes)
    merged = merge_slices(found, windows, HW)
    assert_found_once(merged, boxes, labels)
    assert merged.scores.tolist() == sorted(merged.scores, reverse=True)
    for mask, (x1, y1, x2, y2) in zip(merged.masks, merged.bboxes.int()):
        expected = torch.zeros(HW, dtype=torch.bool)
        expected[y1:y2, x1:x2] = True
        assert torch.equal(mask, expected)


def test_boxes_need_not_agree_to_the_pixel():
    boxes, labels = scattered(0, (20, 60))
    windows = slice_windows(HW, PATCH_HW, 0.4)
    found = seen_by_slices(boxes, labels, windows, noise=1.5, visible=0.3)
    merged = merge_slices(found, windows, HW)
    assert_found_once(merged, boxes, labels, atol=4.0)


def test_without_a_threshold_to_meet_objects_are_found_twice():
    """A negative control."""
    boxes, labels = scattered(0, (20, 60))
    windows = slice_windows(HW, PATCH_HW, 0.25)
    found = seen_by_slices(boxes, labels, windows)
    merged = merge_slices(found, windows, HW, iou_threshold=1.0)
    assert len(merged) == sum(map(len, found)) > len(boxes)


def instances(*rows):
    return InstanceData(
        bboxes=torch.tensor([row[:4] for row in rows]).reshape(-1, 4).float(),
        scores=torch.tensor([row[4] for row in rows]),
        labels=torch.tensor([row[5] for row in rows], dtype=torch.long),
    )


WINDOWS = [(0, 0, 100, 50), (60, 0, 160, 50)]


@pytest.mark.parametrize(
    'first, second, expected',
    [
        # The whole view wins, even with the lower score.
        ([(70, 10, 100, 30, 0.9, 0)], [(10, 10, 60, 30, 0.4, 0)],
         [[70, 10, 120, 30, 0.4]]),
        # Both are cut: united, with the better score.
        ([(10, 10, 100, 30, 0.6, 0)], [(0, 11, 70, 30, 0.7, 0)],
         [[10, 10, 130, 30, 0.7]]),
        # Another class.
        ([(70, 10, 90, 30, 0.9, 0)], [(10, 10, 30, 30, 0.4, 1)],
         [[70, 10, 90, 30, 0.9], [70, 10, 90, 30, 0.4]]),
        # Neighbours of which each slice sees one.
        ([(70, 10, 90, 20, 0.9, 0)], [(10, 21, 30, 31, 0.4, 0)],
         [[70, 10, 90, 20, 0.9], [70, 21, 90, 31, 0.4]]),
        # The same slice twice: as in a whole image.
        ([(10, 10, 30, 30, 0.9, 0), (10, 10, 30, 30, 0.8, 0)], [],
         [[10, 10, 30, 30, 0.9], [10, 10, 30, 30, 0.8]]),
        # Two in the first, one in the second: it joins the one it agrees with.
        ([(70, 10, 90, 30, 0.5, 0), (68, 10, 92, 32, 0.9, 0)],
         [(10, 10, 30, 30, 0.4, 0)],
         [[68, 10, 92, 32, 0.9], [70, 10, 90, 30, 0.5]]),
        ([], [], []),
    ],
)  # fmt: skip
def test_pairs(first, second, expected):
    merged = merge_slices(
        [instances(*first), instances(*second)], WINDOWS, (50, 160)
    )
    assert 'masks' not in merged
    rows = torch.cat([merged.bboxes, merged.scores[:, None]], 1)
    torch.testing.assert_close(rows, torch.tensor(expected).reshape(-1, 5))


def test_a_chain_of_slices_is_one_object():
    windows = [(0, 0, 40, 20), (30, 0, 70, 20), (60, 0, 100, 20)]
    cut = (
        [(20, 5, 40, 15, 0.5, 0)],
        [(0, 5, 40, 15, 0.9, 0)],
        [(0, 5, 15, 15, 0.6, 0)],
    )
    merged = merge_slices([instances(*c) for c in cut], windows, (20, 100))
    assert merged.bboxes.tolist() == [[20, 5, 75, 15]]
