"""Features of regions."""

import pytest
import torch
import torchvision

from rfdetr_mm.operators.pooling import _bilinear
from tests.operators.golden_cases import (
    Numbers,
    pooling_cases,
    with_gradients,
)


@pytest.mark.parametrize('name', pooling_cases())
def test_equals_compiled_mmcv(agrees_with_compiled, name):
    agrees_with_compiled('pooling', name)


def regions(numbers, count, size=40.0, side=30.0, images=2):
    index = numbers.integers(count, images)[:, None].to(numbers.dtype)
    return torch.cat([index, numbers.boxes(count, size, side)], 1)


@pytest.mark.parametrize('ratio', [0, 3])
@pytest.mark.parametrize('aligned', [True, False])
def test_own_samples_have_torchvisions_mean(ops, ratio, aligned):
    """The maximum's samples, as an average, are RoIAlign's."""
    numbers = Numbers(0, torch.float64)
    features, rois = numbers.normal(2, 3, 8, 11), regions(numbers, 9)
    pooled = ops.roi_align(features, rois, (3, 2), 0.25, ratio, 'max', aligned)
    mean = ops.roi_align(features, rois, (3, 2), 0.25, ratio, 'avg', aligned)
    assert (pooled >= mean - 1e-9).all()
    if aligned:
        moved = ops.deform_roi_pool(features, rois, None, (3, 2), 0.25, ratio)
        torch.testing.assert_close(moved, mean)


def test_maximum_of_no_samples(ops):
    rois = torch.tensor([[0.0, 4, 4, 4, 4]])  # no side, so no samples
    features = torch.ones(1, 2, 8, 8)
    pooled, gradient = with_gradients(
        lambda x: ops.roi_align(x, rois, 2, 1.0, 0, 'max', True), features
    )
    assert (pooled == -10000).all()
    assert not gradient.any()


@pytest.mark.parametrize('function', ['max', 'deform', 'deform_no_offset'])
def test_gradients_by_differences(ops, function):
    numbers = Numbers(1, torch.float64)
    features = numbers.normal(2, 2, 6, 7).requires_grad_()
    rois = regions(numbers, 3, size=20, side=16)
    offset = numbers.normal(3, 2, 2, 2).requires_grad_()
    if function == 'max':
        torch.autograd.gradcheck(
            lambda x: ops.roi_align(x, rois, 2, 0.25, 2, 'max', True),
            features,
        )
    elif function == 'deform':
        torch.autograd.gradcheck(
            lambda x, o: ops.deform_roi_pool(x, rois, o, 2, 0.25, 2, 0.3),
            (features, offset),
        )
    else:
        torch.autograd.gradcheck(
            lambda x: ops.deform_roi_pool(x, rois, None, 2, 0.25, 0), features
        )


def test_deformable_pooling_moves_a_bin(ops):
    """gamma times the region's side times the offset, x before y."""
    numbers = Numbers(2, torch.float64)
    features = numbers.normal(1, 2, 20, 24)
    roi = torch.tensor([[0.0, 4, 6, 12, 10]], dtype=torch.float64)
    offset = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
    offset[0, 0], offset[0, 1] = 0.5, -0.25
    pooled = ops.deform_roi_pool(features, roi, offset, 1, 1.0, 2, 0.5)
    moved = roi + torch.tensor([0, 2, -0.5, 2, -0.5])
    expected = ops.roi_align(features, moved, 1, 1.0, 2, 'avg', True)
    torch.testing.assert_close(pooled, expected)


def pool_by_hand(features, rois, size, scale):
    """Maximum over floor(start) to ceil(end) of each bin, clipped."""
    rows, columns = size
    height, width = features.shape[2:]
    output = features.new_zeros(len(rois), features.size(1), rows, columns)
    for n, roi in enumerate(rois.double()):
        left, top = roi[1] * scale, roi[2] * scale
        wide = (roi[3] + 1) * scale - left
        high = (roi[4] + 1) * scale - top
        if wide <= 0 or high <= 0:
            continue
        for i in range(rows):
            for j in range(columns):
                y = [top + high * k / rows for k in (i, i + 1)]
                x = [left + wide * k / columns for k in (j, j + 1)]
                ys = slice(max(int(y[0].floor()), 0), max(int(y[1].ceil()), 0))
                xs = slice(max(int(x[0].floor()), 0), max(int(x[1].ceil()), 0))
                patch = features[int(roi[0]), :, ys, xs]
                if patch.numel():
                    output[n, :, i, j] = patch.amax((1, 2))
    return output


def test_roi_pool_by_hand(ops):
    numbers = Numbers(3)
    features = numbers.normal(2, 3, 9, 12)
    rois = torch.cat(
        [
            regions(numbers, 20, size=50, side=40),
            torch.tensor([[0.0, 8, 8, 2, 2], [1, 90, 90, 99, 99]]),
        ]
    )
    result, gradient = with_gradients(
        lambda x: ops.roi_pool(x, rois, (3, 2), 0.25), features
    )
    by_hand = with_gradients(
        lambda x: pool_by_hand(x, rois, (3, 2), 0.25), features
    )
    assert torch.equal(result, by_hand[0])
    torch.testing.assert_close(gradient, by_hand[1])
    assert not result[-2:].any()
    # torchvision rounds the region first.
    other = torchvision.ops.roi_pool(features, rois[:20], (3, 2), 0.25)
    assert not torch.equal(result[:20], other)


def test_roi_pool_takes_the_first_of_equal_pixels(ops):
    features = torch.ones(1, 1, 4, 4)
    rois = torch.tensor([[0.0, 0, 0, 3, 3]])
    _, gradient = with_gradients(lambda x: ops.roi_pool(x, rois, 2), features)
    assert gradient[0, 0].nonzero().tolist() == [
        [0, 0],
        [0, 2],
        [2, 0],
        [2, 2],
    ]


def test_no_regions(ops):
    features = torch.ones(1, 3, 4, 4)
    rois = torch.zeros(0, 5)
    for function in (
        lambda x: ops.roi_pool(x, rois, 2),
        lambda x: ops.deform_roi_pool(x, rois, None, 2),
        lambda x: ops.roi_align(x, rois, 2, 1.0, 0, 'max', True),
    ):
        result, gradient = with_gradients(function, features)
        assert result.shape == (0, 3, 2, 2)
        assert not gradient.any()


def test_points_beside_the_map():
    """Up to a pixel beyond the border counts as the border."""
    feature = torch.arange(6.0).view(1, 2, 3) + 1
    y = torch.tensor([-1.0, -1.01, 0, 2.0, 2.01, 0.5])
    x = torch.tensor([0.0, 0, 3, 2.5, 0, 0.5])
    assert _bilinear(feature, y, x)[0].tolist() == [1, 0, 3, 6, 0, 3]
