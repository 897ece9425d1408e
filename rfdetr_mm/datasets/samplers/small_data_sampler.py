"""Epochs of whole optimizer steps, and of a least number of them."""

from collections.abc import Iterator, Sized

import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler

from rfdetr_mm.errors import InputError


@DATA_SAMPLERS.register_module()
class SmallDataSampler(DefaultSampler):
    """mmengine's shuffling sampler, also for a handful of images.

    A data set that fills fewer than ``min_steps`` steps of the optimizer is
    drawn from with replacement, ``min_steps`` full steps in an epoch.
    Otherwise an epoch has every image once and is filled up to whole steps
    by images drawn at random, so that no step has fewer images than the
    others. The draws depend on the seed and the epoch only; every process
    gets its own part of them.

    Args:
        dataset: The data set, not empty.
        batch_size: Images of a batch of the data loader, per process.
        accumulative_counts: Batches per step of the optimizer wrapper.
        min_steps: Least steps of the optimizer in an epoch.
        shuffle: True. What a config says of the default sampler may stay
            when only the type is changed.
        seed: The same in all processes; None draws one for all of them.

    Raises:
        InputError: If the data set is empty, a number is not positive or
            ``shuffle`` is False.

    Source: rfdetr 1.11.2, RFDETRDataModule.train_dataloader and
        GradAccumAlignedDataset (Apache-2.0). Upstream fills up by the same
        images in every epoch, and over several processes repeats small data
        sets instead of drawing from them.
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        accumulative_counts: int = 1,
        min_steps: int = 5,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        if not shuffle:
            raise InputError(
                'SmallDataSampler draws at random; for images in their order '
                "take type='DefaultSampler' with shuffle=False"
            )
        if min(batch_size, accumulative_counts, min_steps) < 1:
            raise InputError(
                'SmallDataSampler counts from 1, but got '
                f'batch_size={batch_size}, '
                f'accumulative_counts={accumulative_counts}, '
                f'min_steps={min_steps}'
            )
        if not len(dataset):
            raise InputError(
                'SmallDataSampler has nothing to draw from: the data set has '
                'no images. Check ann_file and data_prefix, and filter_cfg, '
                'which may have left images without objects out'
            )
        super().__init__(dataset, shuffle=True, seed=seed)
        step = batch_size * accumulative_counts * self.world_size
        num_steps = -(-len(dataset) // step)
        self.with_replacement = len(dataset) < min_steps * step
        if self.with_replacement:
            num_steps = min_steps
        self.total_size = num_steps * step
        self.num_samples = self.total_size // self.world_size

    def __iter__(self) -> Iterator[int]:
        """Give this process's part of an epoch, as indices."""
        generator = torch.Generator()
        generator.manual_seed(self.seed + self.epoch)
        count = len(self.dataset)
        once = 0 if self.with_replacement else count
        indices = torch.cat(
            [
                torch.randperm(count, generator=generator)[:once],
                torch.randint(
                    count, (self.total_size - once,), generator=generator
                ),
            ]
        )
        return iter(indices[self.rank :: self.world_size].tolist())
