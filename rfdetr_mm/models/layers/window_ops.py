"""Cutting a patch grid into attention windows and back."""

from torch import Tensor


def window_partition(tokens: Tensor, num_windows: int) -> Tensor:
    """Cut a patch grid into independent attention windows.

    Args:
        tokens: Patch tokens, shape (bs, grid_h, grid_w, embed_dims). Both
            grid sides are in patches and divisible by ``num_windows``.
        num_windows: Windows per side (a count, not a size in patches).

    Returns:
        Shape (bs * num_windows**2, win_h * win_w, embed_dims), image-major,
        windows in row-major order; undone by :func:`window_unpartition`.

    Source: rfdetr 1.11.2, WindowedDinov2WithRegistersEmbeddings.
    """
    bs, grid_h, grid_w, embed_dims = tokens.shape
    win_h, win_w = grid_h // num_windows, grid_w // num_windows
    windows = tokens.view(
        bs, num_windows, win_h, num_windows, win_w, embed_dims
    )
    windows = windows.transpose(2, 3)  # (bs, nw_y, nw_x, win_h, win_w, C)
    return windows.reshape(bs * num_windows**2, win_h * win_w, embed_dims)


def window_unpartition(
    windows: Tensor, num_windows: int, grid_h: int, grid_w: int
) -> Tensor:
    """Put windows back into the patch grid they were cut from.

    Args:
        windows: Shape (bs * num_windows**2, win_h * win_w, embed_dims), as
            :func:`window_partition` returns it.
        num_windows: Windows per side.
        grid_h: Rows of the whole grid, in patches.
        grid_w: Columns of the whole grid, in patches.

    Returns:
        Shape (bs, grid_h, grid_w, embed_dims).

    Source: rfdetr 1.11.2, WindowedDinov2WithRegistersBackbone.forward.
    """
    embed_dims = windows.shape[-1]
    win_h, win_w = grid_h // num_windows, grid_w // num_windows
    tokens = windows.view(
        -1, num_windows, num_windows, win_h, win_w, embed_dims
    )
    tokens = tokens.transpose(2, 3)  # (bs, nw_y, win_h, nw_x, win_w, C)
    return tokens.reshape(-1, grid_h, grid_w, embed_dims)
