"""Multi-scale deformable attention."""

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)

from tests.operators.golden_cases import Numbers, with_gradients

SHAPES = torch.tensor([[4, 6], [2, 3], [1, 1]])
STARTS = torch.tensor([0, 24, 30])


def inputs(dtype, points=2):
    numbers = Numbers(0, dtype)
    value = numbers.normal(2, 31, 2, 4)
    # Some of the points lie beside the maps.
    locations = numbers.uniform(2, 5, 2, 3, points, 2, high=1.4) - 0.2
    weights = numbers.uniform(2, 5, 2, 3, points)
    return value, locations, weights


def attend(value, locations, weights):
    return MultiScaleDeformableAttnFunction.apply(
        value, SHAPES, STARTS, locations, weights, 64
    )


@pytest.mark.parametrize('points', [1, 2])
def test_equals_mmcvs_plain_torch(points):
    given = inputs(torch.float32, points)
    expected = with_gradients(
        lambda v, x, w: multi_scale_deformable_attn_pytorch(
            v, SHAPES.tolist(), x, w
        ),
        *given,
    )
    for found, right in zip(
        with_gradients(attend, *given), expected, strict=True
    ):
        torch.testing.assert_close(found, right)


def test_gradients_by_differences():
    leaves = [value.requires_grad_() for value in inputs(torch.float64)]
    torch.autograd.gradcheck(attend, leaves)


def test_value_that_is_not_contiguous():
    value, locations, weights = inputs(torch.float64)
    strided = value.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(
        attend(value, locations, weights), attend(strided, locations, weights)
    )
