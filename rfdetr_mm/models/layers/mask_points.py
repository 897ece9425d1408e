"""Points in masks: drawing them, and the values of maps and masks there.

Points are normalised (x, y): (0, 0) is the upper left corner of the network's
input with its padding, (1, 1) the lower right one.

Source: PointRend, https://arxiv.org/abs/1912.08193; rfdetr 1.11.2,
    models/heads/segmentation.py, get_uncertain_point_coords_with_randomness
    and point_sample (the same draws in the same order; at the border they
    take the nearest cell, where mmcv's point_sample fades to 0).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def random_points(num_sets: int, num_points: int, like: Tensor) -> Tensor:
    """Draw uniform points.

    Args:
        num_sets: Sets of points.
        num_points: Points of a set.
        like: Gives dtype (at least float32) and device.

    Returns:
        Shape (num_sets, num_points, 2).
    """
    points = torch.rand(num_sets, num_points, 2, device=like.device)
    return points.to(torch.promote_types(like.dtype, torch.float32))


@torch.no_grad()
def uncertain_points(
    mask_logits: Tensor,
    num_points: int,
    oversample_ratio: float = 3.0,
    importance_sample_ratio: float = 0.75,
) -> Tensor:
    """Draw points for every mask, most of them where it is undecided.

    Args:
        mask_logits: Shape (n, h, w); n may be 0.
        num_points: Points for each mask.
        oversample_ratio: From so many times more uniform points the most
            uncertain ones (logit nearest to 0) are taken.
        importance_sample_ratio: Part of the points that is taken in this
            way; the others are uniform.

    Returns:
        Shape (n, num_points, 2).
    """
    num_uncertain = int(importance_sample_ratio * num_points)
    candidates = random_points(
        len(mask_logits), int(oversample_ratio * num_points), mask_logits
    )
    logits = sample_bilinear(mask_logits.unsqueeze(1), candidates)[:, 0]
    best = (-logits.abs()).topk(num_uncertain, dim=1).indices
    uncertain = candidates.gather(1, best.unsqueeze(-1).expand(-1, -1, 2))
    uniform = random_points(
        len(mask_logits), num_points - num_uncertain, mask_logits
    )
    return torch.cat([uncertain, uniform], dim=1)


def sample_bilinear(maps: Tensor, points: Tensor) -> Tensor:
    """Values of maps between their cell centres.

    Args:
        maps: Shape (n, channels, h, w).
        points: Shape (n, num_points, 2).

    Returns:
        Shape (n, channels, num_points), of the dtype of ``points``; with
        gradient to ``maps``.
    """
    return _grid_sample(maps, points.unsqueeze(2), 'bilinear').squeeze(3)


@torch.no_grad()
def sample_nearest(masks: Tensor, points: Tensor, rows: Tensor) -> Tensor:
    """Values of masks at the nearest cells.

    The masks are not copied, however often one occurs in ``rows``.

    Args:
        masks: Shape (num_masks, h, w), any dtype.
        points: Shape (n, num_points, 2), or (1, num_points, 2) for points
            that all rows share.
        rows: Mask of each set of points, shape (n,).

    Returns:
        Shape (n, num_points), of the dtype of ``points``.
    """
    height, width = masks.shape[-2:]
    # Which cell is the nearest is left to the kernel that upstream asks, so
    # that both agree half-way between two cells.
    cells = torch.stack(
        torch.meshgrid(
            torch.arange(height), torch.arange(width), indexing='ij'
        )
    )
    cells = cells.to(points)[None]  # (1, 2, h, w): row and column
    row, column = _grid_sample(cells, points[None], 'nearest')[0].long()
    # (n or 1, num_points)
    return masks[rows[:, None], row, column].to(points.dtype)


def _grid_sample(maps: Tensor, points: Tensor, mode: str) -> Tensor:
    return F.grid_sample(
        maps.to(points.dtype),
        2.0 * points - 1.0,
        mode=mode,
        padding_mode='border',
        align_corners=False,
    )
