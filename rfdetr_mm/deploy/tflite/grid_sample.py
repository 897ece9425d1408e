"""grid_sample out of operators that TFLite has."""

import torch
from torch import Tensor

# Modes of aten.grid_sampler_2d
BILINEAR, ZEROS = 0, 0


def grid_sample_by_rows(
    input: Tensor,
    grid: Tensor,
    interpolation_mode: int = BILINEAR,
    padding_mode: int = ZEROS,
    align_corners: bool = False,
) -> Tensor:
    """Sample maps bilinearly by picking rows out of a table.

    What ``aten.grid_sampler_2d`` does, with zeros outside of the map.

    Args:
        input: Shape (n, C, h, w).
        grid: (x, y), the map reaching from -1 to 1, shape (n, out_h, out_w,
            2).
        interpolation_mode: The operator's number for bilinear, 0.
        padding_mode: The operator's number for zeros, 0.
        align_corners: Must be False.

    Returns:
        Shape (n, C, out_h, out_w).

    Raises:
        NotImplementedError: For other modes, which RF-DETR does not use.
    """
    if (interpolation_mode, padding_mode, align_corners) != (
        BILINEAR,
        ZEROS,
        False,
    ):
        raise NotImplementedError(
            'for TFLite, grid_sample is bilinear with zeros outside and '
            'align_corners=False'
        )
    num, channels, height, width = input.shape
    x, y = grid.unbind(-1)
    x, y = (x + 1) * (width / 2) - 0.5, (y + 1) * (height / 2) - 0.5
    left, top = x.floor(), y.floor()
    # The four cells around: (n, out_h, out_w, 4)
    xs = torch.stack([left, left + 1, left, left + 1], dim=-1)
    ys = torch.stack([top, top, top + 1, top + 1], dim=-1)
    weights = (1 - (x.unsqueeze(-1) - xs).abs()) * (
        1 - (y.unsqueeze(-1) - ys).abs()
    )
    inside = (xs >= 0) & (xs < width) & (ys >= 0) & (ys < height)
    weights = weights * inside.to(weights.dtype)
    cells = ys.clamp(0, height - 1) * width + xs.clamp(0, width - 1)
    maps = torch.arange(num, dtype=torch.int32, device=input.device)
    cells = cells.to(torch.int32) + maps.view(-1, 1, 1, 1) * (height * width)
    rows = input.flatten(2).transpose(1, 2).reshape(-1, channels)
    picked = rows.index_select(0, cells.flatten()).view(*cells.shape, channels)
    sampled = (picked * weights.unsqueeze(-1)).sum(dim=3)
    return sampled.permute(0, 3, 1, 2)
