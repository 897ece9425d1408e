"""Learned absolute position table and its resizing."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_position_table(
    pos_embed: Tensor, grid_h: int, grid_w: int
) -> Tensor:
    """Resize a position table to another patch grid.

    Antialiased bicubic in float32, to an explicit size; the original
    DINOv2's scale factor with its 0.1 offset is not used.

    Args:
        pos_embed: Class-token row and patch rows of a square grid, shape
            (1, 1 + side**2, embed_dims).
        grid_h: Wanted rows, in patches.
        grid_w: Wanted columns, in patches.

    Returns:
        Shape (1, 1 + grid_h * grid_w, embed_dims) and the table's dtype; the
        table itself when it has that grid already.

    Source: rfdetr 1.11.2,
        WindowedDinov2WithRegistersEmbeddings.interpolate_pos_encoding.
    """
    side = math.isqrt(pos_embed.shape[1] - 1)
    if (grid_h, grid_w) == (side, side):
        return pos_embed
    return _interpolate(pos_embed, side, grid_h, grid_w)


# AOTAutograd of torch 2.9 fails on bicubic-antialiased to dynamic sizes.
@torch.compiler.disable
def _interpolate(
    pos_embed: Tensor, side: int, grid_h: int, grid_w: int
) -> Tensor:
    cls_row, patch_rows = pos_embed[:, :1], pos_embed[:, 1:]
    grid = patch_rows.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    grid = F.interpolate(
        grid.float(),
        size=(grid_h, grid_w),
        mode='bicubic',
        align_corners=False,
        antialias=True,
    )
    patch_rows = grid.to(pos_embed.dtype).flatten(2).transpose(1, 2)
    return torch.cat([cls_row, patch_rows], dim=1)
