import math

import pytest
import torch

from rfdetr_mm.models.layers.box_deltas import apply_box_deltas

LOG2 = math.log(2)


@pytest.mark.parametrize(
    'reference, deltas, expected',
    [
        ((0.5, 0.5, 0.2, 0.4), (0, 0, 0, 0), (0.5, 0.5, 0.2, 0.4)),
        ((0.5, 0.5, 0.2, 0.4), (1, -1, 0, 0), (0.7, 0.1, 0.2, 0.4)),
        ((0.5, 0.5, 0.2, 0.4), (0, 0, LOG2, -LOG2), (0.5, 0.5, 0.4, 0.2)),
        # nothing is clamped to the image
        ((0.9, 0.1, 0.5, 0.5), (1, -1, LOG2, 0), (1.4, -0.4, 1.0, 0.5)),
        # a zeroed reference cannot move
        ((0.0, 0.0, 0.0, 0.0), (3, 3, 3, 3), (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_by_hand(reference, deltas, expected):
    actual = apply_box_deltas(
        torch.tensor(reference).view(1, 4),
        torch.tensor(deltas, dtype=torch.float).view(1, 4),
    )
    torch.testing.assert_close(actual, torch.tensor(expected).view(1, 4))
