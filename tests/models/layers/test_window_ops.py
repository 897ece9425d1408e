import pytest
import torch

from rfdetr_mm.models.layers.window_ops import (
    window_partition,
    window_unpartition,
)

GRIDS = [(4, 4, 2), (4, 6, 2), (6, 4, 2), (4, 12, 4), (5, 3, 1)]


@pytest.mark.parametrize('grid_h, grid_w, num_windows', GRIDS)
def test_windows_are_naive_slices(grid_h, grid_w, num_windows):
    tokens = torch.randn(2, grid_h, grid_w, 3)
    windows = window_partition(tokens, num_windows)
    win_h, win_w = grid_h // num_windows, grid_w // num_windows
    assert windows.shape == (2 * num_windows**2, win_h * win_w, 3)
    row = 0
    for image in tokens:
        for y in range(num_windows):
            for x in range(num_windows):
                expected = image[
                    y * win_h : (y + 1) * win_h, x * win_w : (x + 1) * win_w
                ]
                assert torch.equal(windows[row], expected.flatten(0, 1))
                row += 1


@pytest.mark.parametrize('grid_h, grid_w, num_windows', GRIDS)
def test_unpartition_undoes_partition(grid_h, grid_w, num_windows):
    tokens = torch.randn(3, grid_h, grid_w, 2)
    windows = window_partition(tokens, num_windows)
    back = window_unpartition(windows, num_windows, grid_h, grid_w)
    assert torch.equal(back, tokens)
