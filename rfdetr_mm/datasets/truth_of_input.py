"""Annotated objects in pixels of the network's input.

A pipeline of validation loads annotations behind the resizing, so that they
stay in pixels of the original image, where results are painted and judged.
"""

from collections.abc import Mapping
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData

_LOADING = ('LoadAnnotations', 'LoadPoseAnnotations')


def annotations_follow_resize(dataset_cfg: Mapping[str, Any]) -> bool:
    """Tell whether annotations are loaded behind the resizing.

    Args:
        dataset_cfg: Config of a data set, which may be one around another.

    Returns:
        Whether objects are in pixels of the original image.
    """
    while 'dataset' in dataset_cfg:
        dataset_cfg = dataset_cfg['dataset']
    steps = [str(step['type']) for step in dataset_cfg.get('pipeline', [])]
    loading = [i for i, step in enumerate(steps) if step in _LOADING]
    return any('Resize' in step for step in steps[: min(loading, default=0)])


def truth_of_input(
    sample: DetDataSample, in_original_pixels: bool
) -> InstanceData:
    """Move the objects of a sample to the pixels of the network's input.

    Args:
        sample: A sample with ``gt_instances``, ``img_shape`` and
            ``scale_factor``; it stays as it is.
        in_original_pixels: Whether its objects are in pixels of the original
            image; if not, they are of the network's input already.

    Returns:
        The objects; boxes are a tensor (x1, y1, x2, y2), shape (n, 4),
        within the image.
    """
    truth = sample.gt_instances.clone()
    truth.bboxes = get_box_tensor(truth.bboxes).clone()
    if in_original_pixels:
        height, width = sample.img_shape[:2]
        scale = truth.bboxes.new_tensor([*sample.scale_factor[:2]] * 2)
        limits = truth.bboxes.new_tensor([width, height] * 2)
        truth.bboxes = (truth.bboxes * scale).clamp(min=0).minimum(limits)
        if 'masks' in truth:
            truth.masks = truth.masks.resize((height, width))
        if 'keypoints' in truth:
            factors = torch.tensor([*sample.scale_factor[:2], 1.0])
            truth.keypoints = truth.keypoints * factors.to(truth.keypoints)
    return truth
