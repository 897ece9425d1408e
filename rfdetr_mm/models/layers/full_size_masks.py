"""Ground truth to tensors, and predicted masks to the size of an image."""

import torch
import torch.nn.functional as F
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData
from torch import Tensor

from rfdetr_mm.errors import InputError

# Resized at once: 64 MiB of float32, whatever the image's size.
CHUNK_PIXELS = 2**24


def gt_mask_tensor(
    gt_instances: InstanceData, img_meta: dict, device: torch.device
) -> Tensor:
    """Masks of an image's objects on the canvas of the network's input.

    Args:
        gt_instances: Objects with ``masks``: mmdet's ``BitmapMasks`` or
            ``PolygonMasks``, or a tensor of shape (num_gts, h, w), of the size
            of the unpadded or of the padded input.
        img_meta: Meta data with ``img_shape`` and, if the input is padded,
            ``batch_input_shape``, both (h, w) in pixels.
        device: Where to put them.

    Returns:
        True in the object, shape (num_gts, h_px, w_px) of the padded input.

    Raises:
        InputError: If there are no masks, or of another number or size.
        TypeError: If the masks are of another type.
    """
    if 'masks' not in gt_instances:
        raise InputError(
            'the mask losses need gt_instances.masks, but the data samples '
            f'have {sorted(gt_instances.keys())} only. Load them with '
            "dict(type='LoadAnnotations', with_bbox=True, with_mask=True) "
            'from annotations with a segmentation; for boxes alone take '
            'RFDETRHead'
        )
    masks = gt_instances.masks
    if isinstance(masks, (BitmapMasks, PolygonMasks)):
        masks = masks.to_tensor(dtype=torch.uint8, device=device)
    if not isinstance(masks, Tensor):
        raise TypeError(
            'gt_instances.masks must be BitmapMasks, PolygonMasks or a '
            f'tensor, got {type(masks).__name__}'
        )
    unpadded = tuple(img_meta['img_shape'][:2])
    padded = tuple(img_meta.get('batch_input_shape', unpadded))
    size = tuple(masks.shape[1:])
    if len(masks) != len(gt_instances.labels) or size not in (
        unpadded,
        padded,
    ):
        raise InputError(
            'gt_instances.masks must hold one mask for each object, of the '
            f"image's size: {len(gt_instances.labels)} objects of {unpadded} "
            f'px (H, W), {padded} px with padding, got '
            f'{tuple(masks.shape)}. Transforms that move an image must '
            'move its masks'
        )
    missing_h, missing_w = (full - part for full, part in zip(padded, size))
    masks = masks.to(device=device, dtype=torch.bool)
    return F.pad(masks, (0, missing_w, 0, missing_h))


@torch.no_grad()
def resize_masks(
    mask_logits: Tensor, img_meta: dict, size_px: tuple[int, int]
) -> Tensor:
    """Cut the padding off masks, resize them to an image, decide pixels.

    A few masks at a time are resized, so that beside the result little
    memory is needed.

    Args:
        mask_logits: Shape (n, mask_h, mask_w); cover the padded input.
        img_meta: Meta data with ``img_shape`` and, if the input is padded,
            ``batch_input_shape``, both (h, w) in pixels.
        size_px: (h, w) of the result in pixels.

    Returns:
        True in the object, shape (n, h, w).

    Source: rfdetr 1.11.2, models/postprocess.py,
        PostProcess._postprocess_masks.
    """
    height, width = size_px
    masks = mask_logits.new_empty(
        (len(mask_logits), height, width), dtype=torch.bool
    )
    step = max(1, CHUNK_PIXELS // (height * width))
    for start in range(0, len(masks), step):
        logits = mask_logits[start : start + step].unsqueeze(1)
        resized = _resize(logits, img_meta, size_px)[:, 0]
        torch.gt(resized, 0.0, out=masks[start : start + step])
    return masks


def _resize(
    logits: Tensor, img_meta: dict, size_px: tuple[int, int]
) -> Tensor:
    """Resize (n, 1, mask_h, mask_w) bilinearly to (n, 1, h, w)."""
    unpadded = tuple(img_meta['img_shape'][:2])
    padded = tuple(img_meta.get('batch_input_shape', unpadded))
    if unpadded == padded:
        return F.interpolate(
            logits, size=size_px, mode='bilinear', align_corners=False
        )
    # The padding comes after the image: resize both, cut it off. The scale
    # is exact where a size would be rounded.
    scale = [
        out * full / part / cells
        for out, full, part, cells in zip(
            size_px, padded, unpadded, logits.shape[-2:]
        )
    ]
    resized = F.interpolate(
        logits,
        scale_factor=scale,
        mode='bilinear',
        align_corners=False,
        recompute_scale_factor=False,
    )
    return resized[..., : size_px[0], : size_px[1]]
