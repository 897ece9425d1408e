"""Mmdet's data preprocessor, with fewer copies of the images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.model import ImgDataPreprocessor
from mmengine.utils import is_seq_of
from torch import Tensor

from rfdetr_mm.errors import InputError


class _StackingImgDataPreprocessor(ImgDataPreprocessor):
    """Mmengine's; ``DetDataPreprocessor`` calls it for the images.

    Mmengine takes one or three means, this one any number of channels.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        if mean is None or std is None or len(mean) in (1, 3):
            super().__init__(mean=mean, std=std, **kwargs)
            return
        if len(mean) != len(std):
            raise InputError(
                'mean and std have one number for each channel, got '
                f'{len(mean)} and {len(std)}'
            )
        super().__init__(**kwargs)
        self._enable_normalize = True
        for name, numbers in (('mean', mean), ('std', std)):
            numbers = torch.tensor(numbers).view(-1, 1, 1)
            self.register_buffer(name, numbers, persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        if not self._is_stackable(data['inputs']):
            return super().forward(data, training)
        data = self.cast_data(data)
        data['inputs'] = self._stack(data['inputs'])
        data.setdefault('data_samples', None)
        return data

    def _is_stackable(self, images: Any) -> bool:
        """Whether these are bytes of three channels that need no padding."""
        if not is_seq_of(images, Tensor) or len(images) == 0:
            return False
        kinds = {(image.dtype, *image.shape) for image in images}
        dtype, channels, *sides = kinds.pop()
        is_image = dtype == torch.uint8 and channels == 3 and len(sides) == 2
        even = all(side % self.pad_size_divisor == 0 for side in sides)
        return not kinds and is_image and even

    def _stack(self, images: Sequence[Tensor]) -> Tensor:
        dtype = torch.float32
        if self._enable_normalize:
            dtype = torch.promote_types(dtype, self.mean.dtype)
        shape = (len(images), *images[0].shape)
        batch = images[0].new_empty(shape, dtype=dtype)
        if batch.device.type == 'cpu':
            self._fill_in_one_thread(batch, images)
            return batch
        for place, image in zip(batch, images):
            place.copy_(image.flip(0) if self._channel_conversion else image)
        if self._enable_normalize:
            batch.sub_(self.mean).div_(self.std)
        return batch

    @torch.compiler.disable
    def _fill_in_one_thread(
        self, batch: Tensor, images: Sequence[Tensor]
    ) -> None:
        """By numpy: torch's threads would wait for each other.

        The other cores belong to the workers of the data loader.
        """
        step = -1 if self._channel_conversion else 1
        for place, image in zip(batch.numpy(), images):
            np.copyto(place, image.numpy()[::step])
            if self._enable_normalize:
                place -= self.mean.to(batch.dtype).numpy()
                place /= self.std.to(batch.dtype).numpy()


@MODELS.register_module()
class StackingDetDataPreprocessor(
    DetDataPreprocessor, _StackingImgDataPreprocessor
):
    """``DetDataPreprocessor`` that writes images straight into their batch.

    Mmdet's and mmengine's make five copies of every image on the way from
    bytes to a normalised batch. Here bytes of one size, of three channels and
    without padding are written into the batch once and normalised in place;
    all others go mmengine's way. The batch is the same to the bit. A batch
    augmentation with a method ``take_normalization`` is told mean and
    standard deviation.

    Takes what ``DetDataPreprocessor`` takes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for augment in self.batch_augments or ():
            take = getattr(augment, 'take_normalization', None)
            if take is not None and self._enable_normalize:
                take(self.mean, self.std)
