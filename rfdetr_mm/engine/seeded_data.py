"""Training samples that depend on where they stand, not on what came before.

Every draw of a training run has an address: seed, rank, epoch, batch and
place in the batch. The random generators are seeded with it before the
sample is loaded and set back afterwards. So the samples of a run do not
depend on the number of workers, on their start, or on whether the run was
stopped in between, and batches can be skipped without being loaded.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmengine.dist import get_rank
from torch.utils.data import BatchSampler, Dataset, Sampler

from .random_state import kept_random_state, seed_everything

Draw = tuple[int, tuple[int, ...]]
"""Index into the data set, and the address of the draw."""


@DATASETS.register_module()
class SeededDataset(Dataset):
    """A data set that is asked for draws instead of indices.

    Any other attribute is the inner data set's, for reading and setting.

    Args:
        dataset: Config of the inner data set, or the data set.
    """

    def __init__(self, dataset: dict | Dataset) -> None:
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        self.__dict__['dataset'] = dataset

    def __getitem__(self, draw: Draw) -> Any:
        index, address = draw
        with kept_random_state():
            seed_everything(*address)
            return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset' or name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)


@DATA_SAMPLERS.register_module()
class SeededBatchSampler(BatchSampler):
    """Batches of draws, in whole accumulation windows.

    An epoch is filled up to a multiple of ``batch_size * window`` by draws
    of its first samples, so that no step of the optimizer sees fewer images
    than the others.

    Args:
        sampler: Gives the indices of an epoch in their order, anew for
            every epoch.
        batch_size: Images per batch.
        window: Batches per step of the optimizer.
        drop_last: Leave an incomplete window out instead of filling it.
        seed: Part of every address.
        batch_sampler: Config of another batch sampler, which then decides on
            the batches; there are as many as it gives, without filling.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        window: int = 1,
        drop_last: bool = False,
        seed: int = 0,
        batch_sampler: dict | None = None,
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.window = window
        self.seed = seed
        self.inner = None
        if batch_sampler is not None:
            self.inner = DATA_SAMPLERS.build(
                batch_sampler,
                default_args=dict(sampler=sampler, batch_size=batch_size),
            )
        self._epoch = 0
        self._num_skipped = 0

    def start(self, epoch: int, num_skipped: int = 0) -> None:
        """Say what the next pass is.

        Args:
            epoch: Number of the epoch.
            num_skipped: Batches to leave out at its beginning.
        """
        self._epoch = epoch
        self._num_skipped = num_skipped
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[Draw]]:
        rank, epoch = get_rank(), self._epoch
        for number, batch in enumerate(self._batches()):
            if number < self._num_skipped:
                continue
            yield [
                (index, (self.seed, rank, epoch, number, place))
                for place, index in enumerate(batch)
            ]

    def _batches(self) -> Iterator[list[int]]:
        if self.inner is not None:
            yield from self.inner
            return
        indices = list(islice(self.sampler, len(self.sampler)))
        wanted = len(self) * self.batch_size
        while indices and len(indices) < wanted:
            indices += indices[: wanted - len(indices)]
        for start in range(0, wanted, self.batch_size):
            yield indices[start : start + self.batch_size]

    def __len__(self) -> int:
        """Batches of a whole epoch, whatever is skipped."""
        if self.inner is not None:
            return len(self.inner)
        size = self.batch_size * self.window
        windows, rest = divmod(len(self.sampler), size)
        return (windows + bool(rest and not self.drop_last)) * self.window
