"""The kernel that turns patches into vectors, for other channels and sizes."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_patch_kernel(weight: Tensor, patch_size: int) -> Tensor:
    """Resize a patch kernel so that patches keep their vectors.

    The pseudo-inverse resize of FlexiViT: of all kernels of the new size the
    one whose products with bilinearly resized patches are closest to those of
    the kernel with the patches. To a larger size they are equal.

    Args:
        weight: Shape (embed_dims, channels, side, side).
        patch_size: Wanted side in pixels.

    Returns:
        Shape (embed_dims, channels, patch_size, patch_size), with gradient to
        ``weight``, which is returned as it is if it has that size.

    Source: "FlexiViT: One Model for All Patch Sizes" (Beyer et al., CVPR
        2023, arXiv 2212.08013), section 3.4.
    """
    side = weight.shape[-1]
    if side == patch_size:
        return weight
    inverse = _inverse_resize(side, patch_size).to(weight.device)
    # In float32 also where autocast would take less.
    with torch.autocast(weight.device.type, enabled=False):
        resized = weight.float().flatten(2) @ inverse
    return resized.to(weight.dtype).unflatten(2, (patch_size, patch_size))


@lru_cache
def _inverse_resize(side: int, patch_size: int) -> Tensor:
    """Pseudo-inverse of the bilinear resize of a patch, float32 on the CPU.

    Shape (side**2, patch_size**2): patches as rows go from right to left.
    """
    # Kept for later calls, which may want gradients.
    with torch.inference_mode(False):
        pixels = torch.eye(side**2, dtype=torch.float64, device='cpu')
        resized = F.interpolate(
            pixels.view(-1, 1, side, side),
            size=(patch_size, patch_size),
            mode='bilinear',
            align_corners=False,
            antialias=True,
        )  # (side**2, 1, patch_size, patch_size): row i is pixel i resized
        return torch.linalg.pinv(resized.flatten(1)).T.float()


def adapt_patch_kernel(weight: Tensor, in_channels: int) -> Tensor:
    """Carry an RGB patch kernel over to another number of channels.

    One channel gets the mean over RGB; other counts tile RGB and scale by
    3 / in_channels, so that a grey image keeps its response.

    Args:
        weight: Shape (embed_dims, channels, patch, patch); returned as it
            is unless ``channels`` is 3.
        in_channels: Wanted channels.

    Returns:
        Shape (embed_dims, in_channels, patch, patch).

    Source: rfdetr 1.11.2, inference._build_model_context.
    """
    if weight.shape[1] != 3 or in_channels == 3:
        return weight
    if in_channels == 1:
        return weight.mean(dim=1, keepdim=True)
    repeats = -(-in_channels // 3)
    tiled = weight.repeat(1, repeats, 1, 1)[:, :in_channels]
    return tiled * (3 / in_channels)
