"""Objects of a batch one after another, filled up, and their mean number."""

import pytest
import torch
from mmengine.structures import InstanceData

from rfdetr_mm.models.task_modules import batch_objects
from rfdetr_mm.models.task_modules.batch_objects import (
    BatchObjects,
    mean_over_processes,
)

SHAPES = [(40, 80), (64, 64), (20, 10)]


def make(num_objects):
    """Boxes that cover the left half of their image, in pixels."""
    instances, first = [], 0
    for (height, width), num in zip(SHAPES, num_objects):
        box = torch.tensor([0.0, 0.0, width / 2, height])
        instances.append(
            InstanceData(
                bboxes=box.expand(num, 4),
                labels=torch.arange(first, first + num),
            )
        )
        first += num
    metas = [dict(img_shape=shape) for shape in SHAPES]
    return BatchObjects.of(instances, metas)


@pytest.mark.parametrize('num_objects', [(2, 0, 3), (0, 0, 0), (1, 1, 1)])
def test_one_after_another(num_objects):
    objects = make(num_objects)
    total = sum(num_objects)
    assert objects.counts() == list(num_objects)
    assert objects.labels.tolist() == list(range(total))
    half = torch.tensor([0.25, 0.5, 0.5, 1.0]).expand(total, 4)
    torch.testing.assert_close(objects.bboxes_cxcywh_norm, half)


def test_filled_up():
    objects = make((2, 0, 3))
    labels, bboxes = objects.filled_up()
    assert labels.shape == (3, 3) and bboxes.shape == (3, 3, 4)
    assert labels[0, :2].tolist() == [0, 1]
    assert labels[2].tolist() == [2, 3, 4]
    assert bboxes.isfinite().all() and (bboxes[..., 2:] > 0).all()


def test_mean_over_processes(monkeypatch):
    device = torch.device('cpu')
    assert mean_over_processes(6.0, device) == 6.0
    monkeypatch.setattr(batch_objects, 'get_world_size', lambda: 2)
    monkeypatch.setattr(batch_objects, 'reduce_mean', lambda x: x / 2)
    assert mean_over_processes(6.0, device) == 3.0
