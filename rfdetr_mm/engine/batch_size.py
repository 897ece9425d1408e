"""Which batch size fits into the memory.

Real training steps, forward, backward and optimizer, on noise of the largest
shape that a config trains on, with many objects, gradient accumulation and
the averaged weights of EMA. Every batch size runs in a process of its own
(``python -m rfdetr_mm.engine.batch_size``): on a GPU until its memory is
exhausted, on a CPU until the process has taken more than a limit. Neither
data nor weights are needed.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS, MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import EMAHook
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData

from rfdetr_mm.errors import InputError, is_out_of_memory
from rfdetr_mm.sizes.config_facts import largest_training_size
from rfdetr_mm.sizes.data_sets import innermost_datasets
from rfdetr_mm.sizes.shipped import PACKAGE

GIB = 2**30
WINDOW = 2  # batches per step, so that gradients are kept while the next runs
RESERVE = 0.9  # of what is free; the rest is for data and fragmentation
NUM_OBJECTS = 100  # in every image
# How a process ends that asked for more memory than there is.
KILLED = (-signal.SIGKILL, -signal.SIGABRT)


# The search: knows nothing of models.


def find_largest(fits: Callable[[int], bool], target: int) -> int:
    """Find the largest batch size that can matter.

    Doubles until a size does not fit, and then narrows down among the sizes
    that divide the target.

    Args:
        fits: Tries a batch size; if it fits, smaller ones do.
        target: Images per step of the optimizer; larger batches are not
            tried.

    Returns:
        A size that fits, such that no larger divisor of the target does; 0
        if not even one image fits.
    """
    largest, failed = 0, None
    while failed is None and largest < target:
        size = min(max(2 * largest, 1), target)
        if fits(size):
            largest = size
        else:
            failed = size
    between = range(largest + 1, failed or largest + 1)
    divisors = [size for size in between if target % size == 0]
    while divisors:
        middle = len(divisors) // 2
        if fits(divisors[middle]):
            largest, divisors = divisors[middle], divisors[middle + 1 :]
        else:
            divisors = divisors[:middle]
    return largest


def split_target(largest: int, target: int) -> tuple[int, int]:
    """Split the images of a step into equal batches.

    Args:
        largest: Greatest batch size that fits, at least 1.
        target: Images per step.

    Returns:
        Batch size and number of batches; their product is the target.
    """
    sizes = range(1, min(largest, target) + 1)
    batch_size = max(size for size in sizes if target % size == 0)
    return batch_size, target // batch_size


# What is tried.


def synthetic_batch(
    cfg: Config, batch_size: int, num_objects: int
) -> dict[str, list]:
    """Make a batch as a data loader gives it.

    Args:
        cfg: The config, for the shape, the classes and whether there are
            masks.
        batch_size: Images.
        num_objects: Objects in every image.

    Returns:
        ``inputs``, uint8 of shape (3, h, w), and ``data_samples``.
    """
    height, width = largest_training_size(cfg)
    has_masks = any(
        step.get('with_mask')
        for dataset in innermost_datasets(cfg.train_dataloader.dataset)
        for step in dataset.pipeline
    )
    samples = []
    for _ in range(batch_size):
        corners = torch.rand(num_objects, 2, 2).sort(dim=1).values
        truth = InstanceData(
            bboxes=(corners * torch.tensor([width, height])).flatten(1),
            labels=torch.randint(
                cfg.model.bbox_head.num_classes, (num_objects,)
            ),
        )
        if has_masks:
            planes = np.zeros((num_objects, height, width), np.uint8)
            truth.masks = BitmapMasks(planes, height, width)
        meta = dict(img_shape=(height, width), scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = truth
        samples.append(sample)
    images = [
        torch.randint(256, (3, height, width), dtype=torch.uint8)
        for _ in range(batch_size)
    ]
    return dict(inputs=images, data_samples=samples)


class Training:
    """A model in training, its optimizer and the averages of its weights.

    Args:
        cfg: The config; multi-scale is turned off in it, because the images
            have the largest size already.
        num_objects: Objects in every image.
    """

    def __init__(self, cfg: Config, num_objects: int) -> None:
        self.cfg = cfg
        self.num_objects = num_objects
        cfg.model.data_preprocessor.batch_augments = None
        self.model = MODELS.build(cfg.model).to(get_device()).train()
        wrapper = dict(cfg.optim_wrapper, accumulative_counts=WINDOW)
        self.optim_wrapper = build_optim_wrapper(self.model, wrapper)
        hooks = [
            hook
            for hook in map(HOOKS.build, cfg.get('custom_hooks') or [])
            if isinstance(hook, EMAHook)
        ]
        for hook in hooks:
            hook.before_run(SimpleNamespace(model=self.model))
        self.averages = [hook.ema_model for hook in hooks]

    def step(self, batch_size: int) -> float:
        """Make one step of the optimizer, over two batches.

        Args:
            batch_size: Images of a batch.

        Returns:
            Seconds per batch.
        """
        batch = synthetic_batch(self.cfg, batch_size, self.num_objects)
        start = time.perf_counter()
        for _ in range(WINDOW):
            self.model.train_step(batch, self.optim_wrapper)
        for average in self.averages:
            average.update_parameters(self.model)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / WINDOW


def probe(
    cfg: Config, batch_size: int, num_objects: int, memory_gib: float | None
) -> dict[str, Any]:
    """Try a batch size in this process.

    Args:
        cfg: The config.
        batch_size: Images per batch.
        num_objects: Objects in every image.
        memory_gib: What may be taken; None for the default.

    Returns:
        ``fits``, ``limit`` (GiB and what it is of), and if it fits
        ``peak_gib`` and ``seconds`` per batch.
    """
    memory = _GpuMemory() if torch.cuda.is_available() else _MainMemory()
    limit_gib = memory_gib or RESERVE * memory.free_gib()
    result = dict(fits=False, limit=f'{limit_gib:.1f} GiB {memory.name}')
    try:
        training = Training(cfg, num_objects)
        training.step(1)  # optimizer and threads take their memory
        memory.restrict(limit_gib)
        seconds = training.step(batch_size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return result
    peak_gib = memory.peak_gib()
    if peak_gib <= limit_gib:
        result.update(fits=True, peak_gib=peak_gib, seconds=seconds)
    return result


class _GpuMemory:
    """Of the current CUDA device, as torch's allocator has reserved it."""

    def __init__(self) -> None:
        self.name = f'of {torch.cuda.get_device_name()}'

    def free_gib(self) -> float:
        return torch.cuda.mem_get_info()[0] / GIB

    def restrict(self, limit_gib: float) -> None:
        total = torch.cuda.mem_get_info()[1] / GIB
        fraction = min(limit_gib / total, 1.0)
        torch.cuda.set_per_process_memory_fraction(fraction)

    def peak_gib(self) -> float:
        return torch.cuda.max_memory_reserved() / GIB


class _MainMemory:
    """Of this process on Linux: what is resident, libraries included."""

    name = 'of main memory'

    def free_gib(self) -> float:
        """Memory that no process uses or that the kernel can get back."""
        free = _kib('/proc/meminfo', 'MemAvailable') / 2**20
        group = Path('/sys/fs/cgroup/memory.max')
        if group.is_file() and group.read_text().strip().isdigit():
            free = min(free, int(group.read_text()) / GIB)
        return free

    def restrict(self, limit_gib: float) -> None:
        """Let requests of more memory fail instead of the machine."""
        status = '/proc/self/status'
        # Address space that was reserved but is not in use does not count.
        unused = _kib(status, 'VmData') - _kib(status, 'RssAnon')
        limit = int(limit_gib * GIB) + unused * 1024
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))

    def peak_gib(self) -> float:
        return _kib('/proc/self/status', 'VmHWM') / 2**20


def _kib(file: str, name: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1])
    raise RuntimeError(f'{file} has no entry {name}; this needs Linux')


# In a process of its own.


def probe_in_process(
    cfg: Config,
    batch_size: int,
    num_objects: int = NUM_OBJECTS,
    memory_gib: float | None = None,
) -> dict[str, Any]:
    """Run :func:`probe` in a process of its own, which may be killed.

    Args:
        cfg: The config.
        batch_size: Images per batch.
        num_objects: Objects in every image.
        memory_gib: What may be taken, see :func:`probe`.

    Returns:
        What :func:`probe` returns.

    Raises:
        InputError: If it ends with another error than exhausted memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'config.py')
        cfg.dump(path)
        command = [
            *(sys.executable, '-W', 'ignore', '-m', __name__, str(path)),
            json.dumps([batch_size, num_objects, memory_gib]),
        ]
        paths = [str(PACKAGE.parent), os.environ.get('PYTHONPATH', '')]
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment
        )
    if done.returncode in KILLED:
        return dict(fits=False)
    if done.returncode:
        raise InputError(
            f'a batch of {batch_size} failed:\n{done.stderr.strip()}'
        )
    return json.loads(done.stdout.strip().splitlines()[-1])


def propose_batch_size(
    cfg: Config,
    target: int,
    tell: Callable[[int, dict[str, Any]], None] | None = None,
    num_objects: int = NUM_OBJECTS,
    memory_gib: float | None = None,
) -> tuple[int, int]:
    """Propose batch size and gradient accumulation.

    Args:
        cfg: The config.
        target: Images per step of the optimizer.
        tell: Called with every batch size that was tried, and the result of
            :func:`probe`.
        num_objects: Objects in every image.
        memory_gib: What may be taken, see :func:`probe`.

    Returns:
        Batch size and number of batches per step.

    Raises:
        InputError: If not even one image fits.
    """

    def fits(size: int) -> bool:
        result = probe_in_process(cfg, size, num_objects, memory_gib)
        if tell is not None:
            tell(size, result)
        return result['fits']

    largest = find_largest(fits, target)
    if not largest:
        height, width = largest_training_size(cfg)
        raise InputError(
            f'not even one image of {height} x {width} px with {num_objects} '
            'objects fits. Lower the image size, or set '
            'model.backbone.with_cp=True (gradient_checkpointing) or '
            'optim_wrapper.type=AmpOptimWrapper optim_wrapper.dtype=bfloat16'
        )
    return split_target(largest, target)


def _main() -> None:
    """Probe as the command line says, and print the result."""
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(sys.argv[1])
    print(json.dumps(probe(cfg, *json.loads(sys.argv[2]))))


if __name__ == '__main__':
    _main()
