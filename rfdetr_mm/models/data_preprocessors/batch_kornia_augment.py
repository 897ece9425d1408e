"""Augmentations of a whole batch, on its device, by kornia."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import HorizontalBoxes, get_box_tensor
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

from .kornia_transforms import arguments_of, build, known

_FIELDS = ('gt_instances', 'ignored_instances')
_WHITE = 255.0  # kornia's colours end at 1


@MODELS.register_module()
class BatchKorniaAugment(nn.Module):
    """Augment a batch on its device; boxes, masks and keypoints follow.

    An entry of ``batch_augments`` of ``StackingDetDataPreprocessor``: it sees
    batches that are normalised already, in training only. It draws from
    torch's random state, which a resumed training takes up again.

    Boxes become the smallest upright ones around what was in them, cut at the
    border; an object that lies outside is left out. kornia's own boxes are
    not used: they move by a pixel in every mirror.

    Args:
        transforms: Name of a transform of Albumentations to its arguments, in
            the order in which they are done, as in ``aug_config`` of rfdetr's
            ``train()``: ``dict(HorizontalFlip=dict(p=0.5))``. Names are those
            of :data:`~.kornia_transforms.TRANSFORMS`.
        mean: The mean of each channel, from 0 to 255, that the images were
            normalised by; None if the data preprocessor tells.
        std: The standard deviation of each channel; None as for ``mean``.

    Raises:
        InputError: If kornia is not installed, or a transform or an option is
            not known.

    Source: rfdetr 1.11.2, datasets/kornia_transforms.py (the interface).
    """

    def __init__(
        self,
        transforms: Mapping[str, Mapping[str, Any]],
        mean: list[float] | None = None,
        std: list[float] | None = None,
    ) -> None:
        super().__init__()
        built, still, left_out = [], [], []
        for name, options in transforms.items():
            kind, arguments, ignored = arguments_of(name, options or {})
            left_out += [f'{name}({key})' for key in ignored]
            built.append(build(kind, arguments))
            if not known(name).mirrors:
                still.append(built[-1])
        if left_out:
            warnings.warn(
                f'kornia has nothing for {", ".join(left_out)}: left out.',
                stacklevel=2,
            )
        self.moves = any(known(name).moves for name in transforms)
        self._augment = _Augment(built)
        # For images of keypoints that must not be mirrored
        self._without_mirrors = (
            self._augment if len(still) == len(built) else _Augment(still)
        )
        self.register_buffer('mean', None, persistent=False)
        self.register_buffer('std', None, persistent=False)
        if mean is not None and std is not None:
            self.take_normalization(torch.tensor(mean), torch.tensor(std))

    def take_normalization(self, mean: Tensor, std: Tensor) -> None:
        """Take what images are normalised by.

        Args:
            mean: The mean, from 0 to 255, one number for each channel.
            std: The standard deviation, one number for each channel.
        """
        self.mean = mean.detach().reshape(-1, 1, 1).float().clone()
        self.std = std.detach().reshape(-1, 1, 1).float().clone()

    @torch.compiler.disable
    def forward(
        self, inputs: Tensor, data_samples: SampleList
    ) -> tuple[Tensor, SampleList]:
        """Augment images and what is in them.

        Args:
            inputs: Normalised images, shape (bs, channels, h_px, w_px).
            data_samples: Samples with ``img_shape``; changed in place.

        Returns:
            The images, of the same shape, and the samples.

        Raises:
            InputError: If it is not known how the images were normalised, or
                objects shall move and an image is smaller than its batch.
        """
        self._check(inputs, data_samples)
        augment = self._augment
        if not all(map(_may_be_mirrored, data_samples)):
            augment = self._without_mirrors
        masks = _stack_masks(data_samples, inputs)
        images = (inputs * self.std + self.mean) / _WHITE
        images, masks, matrices = augment(images, masks)
        inputs = (images * _WHITE - self.mean) / self.std
        if self.moves:
            for number, sample in enumerate(data_samples):
                _move(
                    sample,
                    matrices[number],
                    None if masks is None else masks[number],
                    tuple(inputs.shape[-2:]),
                )
        return inputs, data_samples

    def _check(self, inputs: Tensor, data_samples: SampleList) -> None:
        if self.mean is None:
            raise InputError(
                'BatchKorniaAugment works on colours from 0 to 1 and does not '
                'know by what the images were normalised: take '
                'StackingDetDataPreprocessor, which tells, or give mean and '
                'std'
            )
        size = tuple(inputs.shape[-2:])
        small = {tuple(sample.img_shape[:2]) for sample in data_samples}
        small.discard(size)
        if self.moves and small:
            raise InputError(
                f'a batch of {size[0]} x {size[1]} px (H x W) has an image of '
                f'{" x ".join(map(str, min(small)))}: padding cannot be moved '
                'with it. Resize all images to one size (keep_ratio=False), '
                'or take transforms that move nothing'
            )


class _Augment:
    """Kornia's transforms, one after the other.

    It is not a module, so that the limits of kornia's draws, which it keeps
    as buffers, do not get into checkpoints.

    Args:
        transforms: Modules of ``kornia.augmentation``.
    """

    def __init__(self, transforms: list[nn.Module]) -> None:
        self.sequence = None
        if transforms:
            from kornia.augmentation import AugmentationSequential

            self.sequence = AugmentationSequential(
                *transforms, data_keys=['input']
            )

    def __call__(
        self, images: Tensor, masks: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Transform images and masks alike.

        Args:
            images: From 0 to 1, shape (bs, channels, h, w).
            masks: 0 and 1, shape (bs, largest number of objects, h, w).

        Returns:
            Both, and the matrices of (x, y, 1) in pixels, where 0 is the
            centre of the first one, shape (bs, 3, 3).
        """
        if self.sequence is None:
            eye = torch.eye(3, device=images.device)
            return images, masks, eye.expand(len(images), 3, 3)
        if masks is None:
            images = self.sequence(images, data_keys=['input'])
        else:
            keys = ['input', 'mask']
            images, masks = self.sequence(images, masks, data_keys=keys)
        return images, masks, self.sequence.transform_matrix.to(images)


def _may_be_mirrored(sample: Any) -> bool:
    """Whether left and right keypoints, if there are any, are known."""
    instances = sample.get('gt_instances', {})
    return 'keypoints' not in instances or 'keypoint_mirrors' in instances


def _stack_masks(data_samples: SampleList, like: Tensor) -> Tensor | None:
    """Masks of all images, one after the other by field; None if none.

    Returns:
        0 and 1, shape (bs, largest number of objects, h, w).
    """
    stacks = [
        [
            instances.masks.to_tensor(like.dtype, like.device)
            for field in _FIELDS
            if 'masks' in (instances := sample.get(field, {}))
        ]
        for sample in data_samples
    ]
    largest = max(sum(map(len, stack)) for stack in stacks)
    if largest == 0:
        return None
    batch = like.new_zeros(len(stacks), largest, *like.shape[-2:])
    for place, stack in zip(batch, stacks):
        if stack:
            joined = torch.cat(stack)
            place[: len(joined)] = joined
    return batch


def _move(
    sample: Any,
    matrix: Tensor,
    masks: Tensor | None,
    size: tuple[int, int],
) -> None:
    """Move the objects of an image, and leave out those that are outside."""
    begin = 0
    for field in _FIELDS:
        instances = sample.get(field, None)
        if instances is None or len(instances) == 0:
            continue
        own = None
        if 'masks' in instances:
            own = masks[begin : begin + len(instances)] > 0.5
            begin += len(instances)
        setattr(sample, field, _moved(instances, matrix, own, size))


def _moved(
    instances: InstanceData,
    matrix: Tensor,
    masks: Tensor | None,
    size: tuple[int, int],
) -> InstanceData:
    boxes = get_box_tensor(instances.bboxes)
    found = _boxes_around(boxes, matrix.to(boxes), size)
    kept = ((found[:, 2:] - found[:, :2]) > 0).all(dim=1)
    if masks is not None:
        kept &= masks.flatten(1).any(dim=1).to(kept.device)
        del instances.masks
    if isinstance(instances.bboxes, HorizontalBoxes):
        found = HorizontalBoxes(found)
    instances.bboxes = found
    if 'keypoints' in instances:
        instances.keypoints = _places(
            instances.keypoints,
            matrix.to(instances.keypoints),
            instances.get('keypoint_mirrors'),
            size,
        )
    instances = instances[kept]
    if masks is not None:
        bitmaps = masks[kept.to(masks.device)].to(torch.uint8).cpu().numpy()
        instances.masks = BitmapMasks(bitmaps, *size)
    return instances


def _boxes_around(
    boxes: Tensor, matrix: Tensor, size: tuple[int, int]
) -> Tensor:
    """Map boxes, shape (n, 4), where 0 is the edge of a pixel."""
    found = HorizontalBoxes(boxes)
    # The matrix counts from the centre of a pixel.
    found.translate_((-0.5, -0.5))
    found.project_(matrix)
    found.translate_((0.5, 0.5))
    found.clip_(size)
    return found.tensor


def _places(
    keypoints: Tensor,
    matrix: Tensor,
    mirrors: Tensor | None,
    size: tuple[int, int],
) -> Tensor:
    """Map keypoints; those outside become zero, sides are exchanged."""
    points = torch.cat(
        [keypoints[..., :2], torch.ones_like(keypoints[..., :1])], dim=-1
    )
    places = points @ matrix.T
    places = places[..., :2] / places[..., 2:]
    limit = places.new_tensor(size[::-1])
    inside = ((places >= 0) & (places < limit)).all(dim=-1, keepdim=True)
    found = torch.cat([places, keypoints[..., 2:]], dim=-1)
    found = found * (inside & (keypoints[..., 2:] > 0))
    if mirrors is not None and torch.linalg.det(matrix[:2, :2]) < 0:
        found = found.gather(1, mirrors[..., None].expand_as(found))
    return found
