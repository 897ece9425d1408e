"""Multi-scale training: another image size in every iteration."""

import random

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.logging import MessageHub
from torch import Tensor, nn

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.blocks import multi_scale_sizes

from .resize_batch import resize_batch


@MODELS.register_module()
class BatchMultiScaleResize(nn.Module):
    """Resize each training batch to a size drawn from a set.

    An entry of ``DetDataPreprocessor.batch_augments``: it sees batches that
    are normalised already, in training only. The pipeline must resize
    every image to the largest size, the last of :func:`multi_scale_sizes`,
    so that no batch is enlarged.

    The draw depends on nothing but the iteration, so all processes take the
    same size and a resumed run takes those of an uninterrupted one.
    Upstream's formula and its generator are used, so the sizes are
    upstream's, the first one excepted while ``largest_first`` is on.

    mmdet's ``BatchSyncRandomResize`` draws from the global random state,
    leaves masks at the old size and knows no list of sizes.

    Args:
        img_size: Side of a square, or (height, width), in pixels.
        patch_size: Side of the backbone's patches in pixels.
        num_windows: Windows of the backbone per side.
        expanded: See :func:`multi_scale_sizes`.
        interval: Iterations that share a draw. Upstream draws once per
            optimizer step: set it to ``optim_wrapper.accumulative_counts``.
        largest_first: Take the largest size at iteration 0, so that a run
            that does not fit into memory stops there and not hours later.

    Raises:
        InputError: If a side of ``img_size`` is not a multiple of
            patch_size * num_windows, or ``interval`` is not positive.

    Source: rfdetr 1.11.2, RFDETRModelModule.on_train_batch_start
        (Apache-2.0).
    """

    def __init__(
        self,
        img_size: int | tuple[int, int],
        patch_size: int,
        num_windows: int,
        expanded: bool = True,
        interval: int = 1,
        largest_first: bool = False,
    ) -> None:
        super().__init__()
        if interval < 1:
            raise InputError(
                'interval is a number of iterations, at least 1, but got '
                f'{interval}'
            )
        self.sizes = multi_scale_sizes(
            img_size, patch_size, num_windows, expanded
        )
        self.interval = interval
        self.largest_first = largest_first

    def size_at(self, iteration: int) -> tuple[int, int]:
        """Give the size of one iteration.

        Args:
            iteration: Counted from 0 over the whole training.

        Returns:
            (height, width) in pixels.
        """
        if iteration == 0 and self.largest_first:
            return self.sizes[-1]
        return random.Random(iteration // self.interval).choice(self.sizes)

    def _check_largest(self, size: tuple[int, int]) -> None:
        height, width = self.sizes[-1]
        if size != (height, width):
            raise InputError(
                'BatchMultiScaleResize shrinks images of its largest size, '
                f'{height} x {width} (H x W), but got a batch of {size[0]} x '
                f'{size[1]}: set the scale of the last resizing step in the '
                f'training pipeline to ({width}, {height}), which is (width, '
                "height), or img_size in the data preprocessor's "
                'batch_augments to another size, or turn multi-scale off by '
                'model.data_preprocessor.batch_augments=None'
            )

    @torch.compiler.disable
    def forward(
        self, inputs: Tensor, data_samples: SampleList
    ) -> tuple[Tensor, SampleList]:
        """Resize images, boxes and masks, and correct the meta data.

        The images are interpolated bilinearly, without antialiasing; masks
        take the nearest pixel. Boxes keep their place relative to the
        unpadded image, whose size is rounded up to whole pixels: exactly
        those whose nearest old pixel is not padding.

        Args:
            inputs: Normalised images, shape (bs, channels, h_px, w_px).
            data_samples: Samples with ``img_shape``, ``pad_shape`` and
                ``batch_input_shape``; changed in place.

        Returns:
            The images at the new size, and the samples.

        Raises:
            InputError: If the images are not of the largest size.
            RuntimeError: If the iteration is not known.
        """
        self._check_largest(tuple(inputs.shape[-2:]))
        new_size = self.size_at(_current_iteration())
        return resize_batch(inputs, data_samples, new_size)


def _current_iteration() -> int:
    iteration = MessageHub.get_current_instance().get_info('iter')
    if iteration is None:
        raise RuntimeError(
            'BatchMultiScaleResize draws the image size from the iteration, '
            "which a Runner writes into the MessageHub as 'iter', and no "
            'Runner did. In a training loop of your own call '
            "MessageHub.get_current_instance().update_info('iter', i) in "
            'front of step i, or build the model with '
            'data_preprocessor.batch_augments=None'
        )
    return iteration
