"""Evaluation on Ray: batches are evaluated by workers, metrics computed here.

As in mmengine's own distributed tests, each worker lets the metrics process
its batches, and what they keep of each image is collected before the numbers
are computed: in the order of the images, as one process has it.
"""

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner

from rfdetr_runtime.pictures import read_picture
from rfdetr_runtime.scale import FileLoader
from rfdetr_runtime.scale.session import ray_session
from rfdetr_runtime.scale.stages import num_slots, run_stages, wants_gpu

from .exported import data_sample

if TYPE_CHECKING:
    import pyarrow as pa

_BATCHES_PER_TASK = 16
Batch = Sequence[int]


@dataclass(frozen=True)
class RayEvaluation:
    """Where to evaluate.

    Args:
        address: ``'auto'`` or ``HOST:PORT`` of a Ray cluster; None: Ray is
            started on this machine, unless the program is connected.
        num_models: How many models evaluate at a time; by default one for
            each GPU, or for each processor.
        gpu: Whether they run on GPUs; None: if the cluster has some.
    """

    address: str | None = None
    num_models: int | None = None
    gpu: bool | None = None

    def test(self, runner: Runner) -> dict[str, float]:
        """Evaluate the model of a Runner, as its ``test()`` does.

        Args:
            runner: The Runner.

        Returns:
            Metric to value.

        Raises:
            InputError: If there is no cluster, or none with a GPU.
        """
        loop = runner.test_loop
        loader = loop.dataloader
        weights = {k: v.cpu() for k, v in runner.model.state_dict().items()}
        return self.evaluate(
            _Collated(loader.collate_fn),
            _Checkpoint(runner.cfg.model, weights),
            loader.dataset,
            loop.evaluator,
            list(loader.batch_sampler),
        )

    def test_file(
        self,
        loader: FileLoader,
        batch_size: int,
        dataset: BaseDataset,
        evaluator: Evaluator,
    ) -> dict[str, float]:
        """Evaluate an exported file.

        Args:
            loader: The file.
            batch_size: Images at once.
            dataset: The images.
            evaluator: The metrics.

        Returns:
            Metric to value.

        Raises:
            InputError: If there is no cluster, or none with a GPU.
        """
        numbers = range(len(dataset))
        batches = [
            numbers[start : start + batch_size]
            for start in range(0, len(dataset), batch_size)
        ]
        file = _File(loader)
        return self.evaluate(_pictures, file, dataset, evaluator, batches)

    def evaluate(
        self,
        read: Callable[[BaseDataset, Batch], Any],
        load: Callable[[bool], Callable[[Any], list]],
        dataset: BaseDataset,
        evaluator: Evaluator,
        batches: Sequence[Batch],
    ) -> dict[str, float]:
        """Evaluate a model.

        Args:
            read: Reads a batch of the data set, in a task.
            load: Loads the model in a worker, which may have a GPU, and
                returns what makes data samples of a batch.
            dataset: The images.
            evaluator: The metrics.
            batches: The numbers of the images of each batch.

        Returns:
            Metric to value.

        Raises:
            InputError: If there is no cluster, or none with a GPU.
        """
        parts: dict[int, list[list]] = {}
        with ray_session(self.address) as ray:
            gpu = wants_gpu(ray, self.gpu)
            # Once for each machine, not once for each task.
            images, model, metrics = map(ray.put, (dataset, load, evaluator))
            for table in run_stages(
                ray,
                _numbers(len(batches)),
                _Read(read, images, batches).__call__,
                _Evaluate,
                (model, metrics, gpu),
                gpu,
                min(self.num_models or num_slots(ray, gpu), len(batches)),
            ):
                for row in table.to_pylist():
                    parts[row['batch']] = pickle.loads(row['kept'])
        for _, kept in sorted(parts.items()):
            for metric, results in zip(evaluator.metrics, kept, strict=True):
                metric.results += results
        return evaluator.evaluate(len(dataset))


def _numbers(count: int) -> Iterator['pa.Table']:
    import pyarrow as pa

    for start in range(0, count, _BATCHES_PER_TASK):
        end = min(start + _BATCHES_PER_TASK, count)
        yield pa.table({'batch': pa.array(range(start, end), pa.int64())})


class _Read:
    """A task that reads batches.

    Args:
        read: Reads a batch of the data set.
        dataset: Ray's reference to the data set.
        batches: The numbers of the images of each batch.
    """

    def __init__(
        self,
        read: Callable[[BaseDataset, Batch], Any],
        dataset: Any,
        batches: Sequence[Batch],
    ) -> None:
        self._read, self._dataset, self._batches = read, dataset, batches

    def __call__(self, table: 'pa.Table') -> Iterator['pa.Table']:
        import pyarrow as pa
        import ray

        register_all_modules(init_default_scope=True)
        dataset = ray.get(self._dataset)
        for number in table['batch'].to_pylist():
            data = self._read(dataset, self._batches[number])
            columns = dict(
                batch=pa.array([number], pa.int64()),
                data=pa.array([pickle.dumps(data)], pa.large_binary()),
            )
            yield pa.table(columns)


class _Evaluate:
    """An actor that detects, and lets the metrics process it.

    Args:
        load: Ray's reference to what loads the model.
        evaluator: Ray's reference to the metrics.
        gpu: Whether it has a GPU.
    """

    def __init__(self, load: Any, evaluator: Any, gpu: bool) -> None:
        import ray

        register_all_modules(init_default_scope=True)
        if not gpu:
            torch.set_num_threads(1)
        self._detect = ray.get(load)(gpu)
        self._evaluator: Evaluator = ray.get(evaluator)

    def __call__(self, table: 'pa.Table') -> 'pa.Table':
        import pyarrow as pa

        kept = []
        for data in table['data']:
            samples = self._detect(pickle.loads(data.as_buffer()))
            self._evaluator.process(samples)
            metrics = self._evaluator.metrics
            kept.append(pickle.dumps([metric.results for metric in metrics]))
            for metric in metrics:
                metric.results.clear()
        columns = dict(
            batch=table['batch'], kept=pa.array(kept, pa.large_binary())
        )
        return pa.table(columns)


@dataclass(frozen=True)
class _Collated:
    """Reads a batch as the data loader of a Runner does."""

    collate: Callable[[list], Any]

    def __call__(self, dataset: BaseDataset, batch: Batch) -> Any:
        return self.collate([dataset[number] for number in batch])


@dataclass(frozen=True)
class _Checkpoint:
    """A model of a config, as mmengine's test loop runs it."""

    model: dict[str, Any]
    weights: dict[str, torch.Tensor]

    def __call__(self, gpu: bool) -> Callable[[Any], list]:
        model = MODELS.build(self.model)
        model.load_state_dict(self.weights)
        model = model.to('cuda' if gpu else 'cpu').eval()

        @torch.no_grad()
        def detect(data: Any) -> list:
            return model.test_step(data)

        return detect


def _pictures(dataset: BaseDataset, batch: Batch) -> list[tuple]:
    """Pictures, and what the data set says of them."""
    infos = [dataset.get_data_info(number) for number in batch]
    return [(info, read_picture(info['img_path'])) for info in infos]


@dataclass(frozen=True)
class _File:
    """An exported file."""

    loader: FileLoader

    def __call__(self, gpu: bool) -> Callable[[Any], list]:
        model = self.loader.load_file()

        def detect(pairs: list[tuple]) -> list:
            results = model.predict([picture for _, picture in pairs], 0.0)
            return [
                data_sample(info, found)
                for (info, _), found in zip(pairs, results, strict=True)
            ]

        return detect
