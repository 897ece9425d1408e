"""Training a supernet: every batch at the image size of its sub-network."""

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

from .resize_batch import resize_batch


@MODELS.register_module()
class BatchSubnetResize(nn.Module):
    """Shrink each training batch to ``size``.

    An entry of ``DetDataPreprocessor.batch_augments``: it sees batches that
    are normalised already, in training only. ``RFDETR.set_subnet`` sets
    ``size``, (height, width) in pixels; before that nothing is resized. The
    pipeline must resize every image to the largest size of the search
    space, so that no batch is enlarged.

    Images are smoothed when they shrink, as the test pipeline does it; a
    search space spans a factor of three.

    Source: "RF-DETR: Neural Architecture Search for Real-Time Detection
        Transformers" (arXiv 2511.09554), the image size as a knob.
    """

    def __init__(self) -> None:
        super().__init__()
        self.size: tuple[int, int] | None = None

    @torch.compiler.disable
    def forward(
        self, inputs: Tensor, data_samples: SampleList
    ) -> tuple[Tensor, SampleList]:
        """Resize images, boxes and masks, and correct the meta data.

        Args:
            inputs: Normalised images, shape (bs, channels, h_px, w_px).
            data_samples: See :func:`~.resize_batch.resize_batch`.

        Returns:
            The images at the new size, and the samples.

        Raises:
            InputError: If a side of the images is shorter than wanted.
        """
        if self.size is None:
            return inputs, data_samples
        height, width = inputs.shape[-2:]
        if height < self.size[0] or width < self.size[1]:
            raise InputError(
                'BatchSubnetResize shrinks images, but the sub-network sees '
                f'{self.size[0]} x {self.size[1]} px (H x W) and the batch '
                f'has {height} x {width}: set the scale of the last resizing '
                'step in the training pipeline to (width, height) of the '
                'largest image size of the search space, rounded to blocks'
            )
        return resize_batch(inputs, data_samples, self.size, antialias=True)
