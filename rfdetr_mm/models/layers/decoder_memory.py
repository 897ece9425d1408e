"""What the decoder looks at: the maps as tokens, with their padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmdet.structures import OptSampleList
from torch import Tensor


@dataclass
class DecoderMemory:
    """Flattened maps of all levels.

    Attributes:
        tokens: Shape (bs, num_tokens, embed_dims), levels one after
            another, each in row-major order.
        spatial_shapes: (h, w) of each level, in cells.
        padding_mask: True where a token lies in padding, shape (bs,
            num_tokens); None when nothing is padded.
        valid_sizes: Unpadded (w, h) of each level in cells, shape (bs,
            num_levels, 2), float32.
        valid_ratios: Unpadded part of each level (w, h), same shape.
    """

    tokens: Tensor
    spatial_shapes: list[tuple[int, int]]
    padding_mask: Tensor | None
    valid_sizes: Tensor
    valid_ratios: Tensor


def build_memory(
    feats: Sequence[Tensor], samples: OptSampleList = None
) -> DecoderMemory:
    """Flatten the maps and find out what is padding.

    Args:
        feats: Maps of all levels, shape (bs, embed_dims, h, w).
        samples: Data samples with ``batch_input_shape`` and ``img_shape``
            (h, w) in pixels; without them nothing is taken for padding.

    Returns:
        The memory.

    Source: rfdetr 1.11.2, Transformer.get_valid_ratio, Joiner.forward.
    """
    tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in feats], dim=1)
    spatial_shapes = [(x.shape[2], x.shape[3]) for x in feats]
    level_sizes = _level_sizes(spatial_shapes, tokens.device)
    pixel_mask = _pixel_padding_mask(samples, tokens.device)
    if pixel_mask is None:
        valid_sizes = level_sizes.expand(len(tokens), -1, -1)
        ratios = torch.ones_like(valid_sizes)
        return DecoderMemory(tokens, spatial_shapes, None, valid_sizes, ratios)
    masks = [
        F.interpolate(pixel_mask, size=shape)[:, 0].bool()
        for shape in spatial_shapes
    ]  # nearest
    valid_sizes = torch.stack(
        [
            torch.stack(
                [(~mask[:, 0]).sum(dim=1), (~mask[:, :, 0]).sum(dim=1)],
                dim=-1,
            )
            for mask in masks
        ],
        dim=1,
    )
    padding_mask = torch.cat([mask.flatten(1) for mask in masks], dim=1)
    valid_sizes = valid_sizes.float()
    return DecoderMemory(
        tokens,
        spatial_shapes,
        padding_mask,
        valid_sizes,
        valid_sizes / level_sizes,
    )


def _level_sizes(
    spatial_shapes: list[tuple[int, int]], device: torch.device
) -> Tensor:
    """(w, h) of each level, shape (num_levels, 2), float32."""
    sizes = [(w, h) for h, w in spatial_shapes]
    # Without waiting for the other work of the device.
    return torch.tensor(sizes, dtype=torch.float32).to(
        device, non_blocking=True
    )


def _pixel_padding_mask(
    samples: OptSampleList, device: torch.device
) -> Tensor | None:
    """1.0 where a pixel is padding, (bs, 1, h_px, w_px); None without any."""
    if not samples:
        return None
    input_h, input_w = samples[0].batch_input_shape
    shapes = [tuple(sample.img_shape[:2]) for sample in samples]
    if all(shape == (input_h, input_w) for shape in shapes):
        return None
    mask = torch.ones(len(samples), 1, input_h, input_w, device=device)
    for i, (height_px, width_px) in enumerate(shapes):
        mask[i, :, :height_px, :width_px] = 0
    return mask
