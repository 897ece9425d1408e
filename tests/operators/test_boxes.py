"""Suppression and overlap of boxes."""

import pytest
import torch

from rfdetr_mm.operators.boxes import bbox_overlaps, nms, nms_match, softnms
from tests.operators.golden_cases import Numbers, box_cases


@pytest.mark.parametrize('name', box_cases())
def test_equals_compiled_mmcv(agrees_with_compiled, name):
    agrees_with_compiled('boxes', name)


def overlap(a, b, offset=0):
    """By hand, for one pair."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [(x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b)]
    return width * height / (sum(areas) - width * height)


def kept_by_hand(boxes, scores, threshold, offset):
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])  # stable
    kept = []
    while left:
        kept.append(left.pop(0))
        left = [
            i
            for i in left
            if overlap(boxes[kept[-1]], boxes[i], offset) <= threshold
        ]
    return kept


@pytest.mark.parametrize('offset', [0, 1])
def test_equal_scores_are_taken_in_their_order(offset):
    numbers = Numbers(3, torch.float64)
    boxes = numbers.boxes(150, 60, 40)
    scores = (numbers.uniform(150) * 4).round() / 4
    expected = kept_by_hand(boxes.tolist(), scores.tolist(), 0.4, offset)
    assert nms(boxes, scores, 0.4, offset).tolist() == expected
    assert 10 < len(expected) < 140


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    numbers = Numbers(4)
    boxes, scores = numbers.boxes(60, 500, 300), numbers.uniform(60)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    expected = nms(boxes.float(), scores.float(), 0.5, 0)
    assert torch.equal(nms(boxes, scores, 0.5, 0), expected)
    dets = torch.cat([boxes, scores[:, None]], 1)
    assert nms_match(dets, 0.5) == nms_match(dets.float(), 0.5)


def test_groups_of_equal_scores():
    boxes = torch.tensor([[0, 0, 9, 9], [40, 0, 49, 9], [0, 0, 9, 8]])
    dets = torch.cat([boxes, torch.ones(3, 1)], 1)
    assert nms_match(dets, 0.5) == [[0, 2], [1]]
    assert nms_match(dets[:0], 0.5) == []


@pytest.mark.parametrize('method', [0, 1, 2])
def test_soft_scores_by_hand(method):
    """Two boxes of overlap 0.8: the worse one's score is lowered once."""
    boxes = torch.tensor([[0.0, 0, 10, 8], [0, 0, 10, 10], [50, 50, 60, 60]])
    scores = torch.tensor([0.5, 0.9, 0.3])
    dets = torch.empty(3, 5)
    stays = softnms(boxes, scores, dets, 0.5, 0.5, 0.01, method, 0)
    lowered = [0, 0.5 * 0.2, 0.5 * torch.tensor(-0.64 / 0.5).exp()][method]
    rows = {1: 0.9, 2: 0.3, 0: float(lowered)}
    if method == 0:
        rows.pop(0)
    assert stays.tolist() == list(rows)
    found = dets[: len(rows)]
    torch.testing.assert_close(found[:, 4], torch.tensor(list(rows.values())))
    assert torch.equal(found[:, :4], boxes[stays])


def test_overlaps_in_float64():
    numbers = Numbers(5, torch.float64)
    first, second = numbers.boxes(7, 50, 40), numbers.boxes(5, 50, 40)
    ious = first.new_zeros(7, 5)
    bbox_overlaps(first, second, ious, 0, False, 1)
    expected = [
        [overlap(a, b, 1) for b in second.tolist()] for a in first.tolist()
    ]
    torch.testing.assert_close(ious, first.new_tensor(expected))
