"""The best pairs of a query and a class."""

import pytest
import torch

from rfdetr_mm.models.dense_heads.detections import best_detections

META = dict(img_shape=(40, 60), scale_factor=(1.0, 1.0))
BOXES = torch.tensor([[0.5, 0.5, 0.2, 0.2]]).repeat(3, 1)
LOGITS = torch.tensor([[0.0, 2.0], [1.0, -1.0], [3.0, -2.0]])


def best(logits, boxes, number):
    found, queries = best_detections(logits, boxes, META, number, False)
    return found, list(zip(queries.tolist(), found.labels.tolist()))


def test_the_order():
    found, pairs = best(LOGITS, BOXES, 4)
    assert pairs == [(2, 0), (0, 1), (1, 0), (0, 0)]
    assert torch.equal(found.scores, torch.tensor([3.0, 2, 1, 0]).sigmoid())


@pytest.mark.parametrize('bad', ['logit', 'box', 'infinite box'])
def test_what_is_not_finite_comes_last(bad):
    logits, boxes = LOGITS.clone(), BOXES.clone()
    if bad == 'logit':
        logits[2] = float('nan')
    else:
        boxes[2, 1] = float('nan' if bad == 'box' else 'inf')
    _, pairs = best(logits, boxes, 3)
    assert pairs == [(0, 1), (1, 0), (0, 0)]
    found, pairs = best(logits, boxes, 6)
    assert {query for query, _ in pairs[4:]} == {2}
    is_finite = found.scores.isfinite() & found.bboxes.isfinite().all(dim=1)
    assert is_finite[:4].all()


def test_weights_that_give_nan_only_still_say_so():
    found, _ = best(torch.full_like(LOGITS, float('nan')), BOXES, 4)
    assert len(found) == 4 and found.scores.isnan().all()
