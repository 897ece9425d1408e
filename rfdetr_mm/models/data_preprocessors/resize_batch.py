"""Resizing a batch that was normalised and stacked already."""

from mmdet.structures import SampleList
from mmdet.structures.bbox import scale_boxes
from torch import Tensor
from torch.nn import functional as F


def resize_batch(
    inputs: Tensor,
    data_samples: SampleList,
    size: tuple[int, int],
    antialias: bool = False,
) -> tuple[Tensor, SampleList]:
    """Resize images, boxes, masks and keypoints, and correct the meta data.

    The images are interpolated bilinearly; masks take the nearest pixel.
    Boxes and keypoints keep their place relative to the unpadded image, whose
    size is rounded up to whole pixels: exactly those whose nearest old pixel
    is not padding.

    Args:
        inputs: Normalised images, shape (bs, channels, h_px, w_px).
        data_samples: Samples with ``img_shape``, ``pad_shape`` and
            ``batch_input_shape``; changed in place.
        size: Wanted (height, width) in pixels.
        antialias: Whether images are smoothed when they shrink.

    Returns:
        The images at the new size, and the samples.
    """
    old_size = tuple(inputs.shape[-2:])
    if size == old_size:
        return inputs, data_samples
    inputs = F.interpolate(
        inputs,
        size=size,
        mode='bilinear',
        align_corners=False,
        antialias=antialias,
    )
    for sample in data_samples:
        old_shape = sample.img_shape[:2]
        new_shape = _resized(old_shape, old_size, size)
        factors = (new_shape[1] / old_shape[1], new_shape[0] / old_shape[0])
        for field in ('gt_instances', 'ignored_instances'):
            instances = sample.get(field, {})
            if 'bboxes' in instances:
                instances.bboxes = scale_boxes(instances.bboxes, factors)
            if 'keypoints' in instances:
                instances.keypoints = instances.keypoints * (
                    instances.keypoints.new_tensor([*factors, 1])
                )
            if 'masks' in instances:
                masks = instances.masks
                instances.masks = masks.resize(
                    _resized((masks.height, masks.width), old_size, size)
                )
        sample.set_metainfo(
            dict(
                img_shape=new_shape,
                pad_shape=_resized(sample.pad_shape, old_size, size),
                batch_input_shape=size,
            )
        )
    return inputs, data_samples


def _resized(
    shape: tuple[int, int],
    old_size: tuple[int, int],
    new_size: tuple[int, int],
) -> tuple[int, int]:
    """(h, w) of a part of the old canvas on the new one, rounded up."""
    return tuple(
        -(-part * new // old)
        for part, old, new in zip(shape, old_size, new_size)
    )
