"""Sums of losses that were computed for all layers together."""

import torch

from rfdetr_mm.models.dense_heads.head_outputs import sums_of_layers


def test_sums_of_layers():
    values = torch.arange(12.0)
    assert sums_of_layers(values, 3).tolist() == [6.0, 22.0, 38.0]
    boxes = values.view(6, 2)  # of two objects in each layer
    assert sums_of_layers(boxes, 3).tolist() == [6.0, 22.0, 38.0]


def test_no_boxes():
    """An empty tensor, or the single zero of mmdet's L1 loss."""
    assert sums_of_layers(torch.zeros(0, 4), 3).tolist() == [0.0] * 3
    zero = torch.tensor(0.0, requires_grad=True) * 0
    sums = sums_of_layers(zero, 2)
    assert sums.tolist() == [0.0] * 2 and sums.requires_grad
