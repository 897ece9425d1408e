"""Sampling without grid_sample."""

import pytest
import torch
import torch.nn.functional as F

from rfdetr_mm.deploy.tflite.grid_sample import grid_sample_by_rows


def test_equals_grid_sample_inside_and_outside():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 4, 5, 7, generator=generator, dtype=torch.double)
    grid = torch.rand(3, 6, 2, 2, generator=generator, dtype=torch.double)
    # From far outside to far outside, borders and centres of cells among them
    grid = grid * 4 - 2
    grid[0, 0] = torch.tensor([[-1.0, 1.0], [0.0, -1.0]])
    grid[1, 0] = torch.tensor([[1 / 7 - 1, 1 / 5 - 1], [1.0, 1.0]])
    wanted = F.grid_sample(maps, grid, align_corners=False)
    given = grid_sample_by_rows(maps, grid)
    torch.testing.assert_close(given, wanted, atol=1e-12, rtol=0)
    swapped = grid_sample_by_rows(maps, grid.flip(-1))
    assert (swapped - wanted).abs().max() > 0.1


@pytest.mark.parametrize('modes', [(1, 0, False), (0, 1, False), (0, 0, True)])
def test_other_modes_are_refused(modes):
    with pytest.raises(NotImplementedError, match='bilinear'):
        grid_sample_by_rows(
            torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), *modes
        )
