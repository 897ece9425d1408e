import pytest
import torch
import torch.nn.functional as F

from rfdetr_mm.models.layers.mask_points import (
    random_points,
    sample_bilinear,
    sample_nearest,
    uncertain_points,
)


def test_values_between_cells_and_at_the_border():
    """A map of 2 x 4 cells, whose centres are at 1/4, 3/4 and 1/8, 3/8, …"""
    maps = torch.arange(8.0).view(1, 1, 2, 4)
    points = torch.tensor(
        [[[1 / 8, 1 / 4], [2 / 8, 1 / 4], [3 / 8, 1 / 2], [0, 0], [1, 1]]]
    )
    values = sample_bilinear(maps, points)
    torch.testing.assert_close(
        values, torch.tensor([[[0.0, 0.5, 3.0, 0.0, 7.0]]])
    )


def test_bilinear_values_have_a_gradient():
    maps = torch.zeros(1, 1, 2, 2, requires_grad=True)
    sample_bilinear(maps, torch.tensor([[[0.5, 0.25]]])).sum().backward()
    torch.testing.assert_close(
        maps.grad[0, 0], torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    )


@pytest.mark.parametrize('dtype', [torch.bool, torch.uint8, torch.float32])
@pytest.mark.parametrize('size', [(5, 9), (31, 16), (1, 1)])
def test_nearest_values_are_those_of_grid_sample(size, dtype):
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(3, *size, generator=generator) > 0.5).to(dtype)
    rows = torch.tensor([2, 0, 0, 1, 2, 2])
    points = torch.rand(len(rows), 40, 2, generator=generator)
    points[:, :4] = torch.tensor([[0.0, 0], [1, 1], [0, 1], [1, 0]])
    # half-way between two cells
    points[:, 4] = torch.tensor([1 / size[1], 1 / size[0]])
    expected = F.grid_sample(
        masks[rows, None].float(),
        2 * points[:, :, None] - 1,
        mode='nearest',
        padding_mode='border',
        align_corners=False,
    )[:, 0, :, 0]
    found = sample_nearest(masks, points, rows)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_points_that_all_masks_share():
    masks = torch.rand(4, 6, 7) > 0.5
    points = random_points(1, 20, torch.zeros(1))
    rows = torch.arange(4)
    assert torch.equal(
        sample_nearest(masks, points, rows),
        sample_nearest(masks, points.expand(4, -1, -1), rows),
    )


def test_no_masks():
    masks, none = torch.zeros(0, 6, 7, dtype=torch.bool), torch.arange(0)
    points = uncertain_points(torch.zeros(0, 6, 7), num_points=8)
    assert points.shape == (0, 8, 2)
    assert sample_bilinear(torch.zeros(0, 1, 6, 7), points).shape == (0, 1, 8)
    assert sample_nearest(masks, points, none).shape == (0, 8)
    assert sample_nearest(masks, torch.rand(1, 8, 2), none).shape == (0, 8)


def test_most_points_are_uncertain_ones():
    """The logit is 0 on the vertical line through the middle."""
    ramp = torch.linspace(-1, 1, 16).expand(2, 12, 16)
    points = uncertain_points(ramp, num_points=100)
    distances = (points[..., 0] - 0.5).abs()
    # A quarter of 300 uniform points are within 1/8, and 75 are taken.
    assert (distances[:, :75] < 0.2).all()
    assert (distances[:, 75:] > 0.3).any()
    assert points.min() >= 0 and points.max() <= 1


def test_all_points_uniform():
    torch.manual_seed(3)
    points = uncertain_points(torch.zeros(2, 5, 6), 9, 3.0, 0.0)
    torch.manual_seed(3)
    random_points(2, 27, points)
    assert torch.equal(points, random_points(2, 9, points))


@pytest.mark.parametrize(
    'dtype, expected',
    [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_points_are_not_of_half_precision(dtype, expected):
    maps = torch.zeros(1, 3, 4, 4, dtype=dtype)
    points = random_points(1, 5, maps)
    assert points.dtype == sample_bilinear(maps, points).dtype == expected
