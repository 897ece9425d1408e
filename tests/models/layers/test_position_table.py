import pytest
import torch
import torch.nn.functional as F

from rfdetr_mm.models.layers.position_table import resize_position_table


def test_same_grid_returns_the_table_itself():
    table = torch.randn(1, 1 + 16, 3)
    assert resize_position_table(table, 4, 4) is table


@pytest.mark.parametrize('grid', [(4, 6), (6, 4), (2, 8), (8, 2), (5, 5)])
def test_rows_are_resized_row_major(grid):
    """A table that is linear in x and y stays so inside, per axis."""
    side = 4
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing='ij')
    table = torch.stack([y, x], dim=-1).view(1, side**2, 2)
    table = torch.cat([torch.full((1, 1, 2), 9.0), table], dim=1)
    resized = resize_position_table(table, *grid)
    assert resized.shape == (1, 1 + grid[0] * grid[1], 2)
    assert torch.equal(resized[:, 0], table[:, 0])
    rows = resized[0, 1:].view(*grid, 2)
    # y does not change along a row, x does not change along a column
    torch.testing.assert_close(
        rows[..., 0], rows[:, :1, 0].expand(grid), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        rows[..., 1], rows[:1, :, 1].expand(grid), atol=1e-5, rtol=0
    )
    assert (rows[1:, 0, 0] > rows[:-1, 0, 0]).all()
    assert (rows[0, 1:, 1] > rows[0, :-1, 1]).all()


def test_equal_count_but_other_sides_is_resized():
    """2 x 8 has as many cells as 4 x 4."""
    table = torch.randn(1, 1 + 16, 3)
    assert not torch.equal(resize_position_table(table, 2, 8), table)


def test_kernel_is_antialiased_bicubic():
    table = torch.randn(1, 1 + 36, 2)
    grid = table[:, 1:].view(1, 6, 6, 2).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, size=(3, 4), mode='bicubic', antialias=True)
    plain = F.interpolate(grid, size=(3, 4), mode='bicubic')
    actual = resize_position_table(table, 3, 4)[:, 1:]
    actual = actual.view(1, 3, 4, 2).permute(0, 3, 1, 2)
    torch.testing.assert_close(actual, expected)
    assert (actual - plain).abs().max() > 0.01


def test_half_precision_table_keeps_its_type():
    table = torch.randn(1, 1 + 16, 3).half()
    assert resize_position_table(table, 2, 3).dtype == torch.float16
