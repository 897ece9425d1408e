import pytest
import torch

from rfdetr_mm.models.layers.mask_branch import (
    MaskBlock,
    MaskBranch,
    MaskFactors,
    QueryFFN,
)
from rfdetr_mm.models.layers.mask_points import sample_bilinear

DIMS = 8


@pytest.fixture
def factors():
    return MaskFactors(
        mask_features=torch.randn(2, DIMS, 6, 9, requires_grad=True),
        query_features=torch.randn(2, 5, DIMS, requires_grad=True),
        bias=torch.randn(1, requires_grad=True),
    )


def test_logits_by_hand(factors):
    dense = factors.dense()
    assert dense.shape == (2, 5, 6, 9)
    expected = factors.mask_features[1, :, 2, 7] @ factors.query_features[1, 3]
    torch.testing.assert_close(dense[1, 3, 2, 7], expected + factors.bias[0])


def test_a_few_masks_and_a_few_points_are_those_of_all(factors):
    dense = factors.dense()
    queries = torch.tensor([4, 0, 0])
    torch.testing.assert_close(factors.select(1, queries), dense[1, queries])
    points = torch.rand(1, 11, 2)
    torch.testing.assert_close(
        factors.at_points(points),
        sample_bilinear(dense, points.expand(2, -1, -1)),
    )


def test_no_masks_are_still_connected(factors):
    """So that no parameter lacks a gradient in a batch without objects."""
    none = factors.select(0, torch.arange(0))
    assert none.shape == (0, 6, 9)
    none.sum().backward()
    assert (factors.mask_features.grad == 0).all()
    assert (factors.query_features.grad == 0).all()
    assert (factors.bias.grad == 0).all()


@pytest.mark.parametrize(
    'ratio, size', [(3.0, (12, 15)), (3.5, (14, 17)), (1.0, (4, 5))]
)
def test_sizes(ratio, size):
    branch = MaskBranch(DIMS, num_layers=2, upsample_ratio=ratio)
    enlarged = branch.enlarge(torch.randn(2, DIMS, 4, 5))
    assert enlarged.shape == (2, DIMS, *size)
    masks = branch(enlarged, torch.randn(2, 2, 7, DIMS))
    assert [m.dense().shape for m in masks] == [(2, 7, *size)] * 2
    proposals = branch.of_proposals(enlarged, torch.randn(2, 3, DIMS))
    assert proposals.dense().shape == (2, 3, *size)


@torch.no_grad()
def test_blocks_build_upon_each_other():
    branch = MaskBranch(DIMS, num_layers=3, upsample_ratio=2.0)
    enlarged = branch.enlarge(torch.randn(1, DIMS, 4, 5))
    queries = torch.randn(3, 1, 7, DIMS)
    before = [m.dense() for m in branch(enlarged, queries)]
    branch.blocks[1].pointwise.bias += 1
    after = [m.dense() for m in branch(enlarged, queries)]
    assert [torch.equal(a, b) for a, b in zip(before, after)] == [
        True, False, False,
    ]  # fmt: skip
    last = branch.of_last_layer(enlarged, queries)
    assert torch.equal(last.dense(), after[-1])


@torch.no_grad()
@pytest.mark.parametrize(
    'module, shape',
    [(MaskBlock(DIMS), (2, DIMS, 6, 9)), (QueryFFN(DIMS), (2, 5, DIMS))],
)
def test_residuals(module, shape):
    """Without what the last layer adds, the input comes out."""
    last = getattr(module, 'fc2', None) or module.pointwise
    last.weight.zero_(), last.bias.zero_()
    x = torch.randn(shape)
    assert torch.equal(module(x), x)
