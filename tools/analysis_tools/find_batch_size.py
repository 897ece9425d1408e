"""Find the batch size that fits: ``find_batch_size.py CONFIG``.

Real training steps, forward, backward and optimizer, on noise of the largest
shape that the config trains on, with many objects, gradient accumulation and
the averaged weights of EMA. Every batch size runs in a process of its own: on
a GPU until its memory is exhausted, on a CPU until the process has taken more
than a limit. Neither data nor weights are needed.
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from run_config import (  # noqa: E402  (puts this clone in front)
    add_cfg_options,
    input_errors_in_one_line,
    is_out_of_memory,
    read_config,
    stop,
)

# isort: split
import torch  # noqa: E402
from mmdet.registry import HOOKS, MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.mask import BitmapMasks  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.device import get_device  # noqa: E402
from mmengine.hooks import EMAHook  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

from rfdetr_mm.models.data_preprocessors import (  # noqa: E402
    multi_scale_sizes,
)

GIB = 2**30
WINDOW = 2  # batches per step, so that gradients are kept while the next runs
RESERVE = 0.9  # of what is free; the rest is for data and fragmentation
# How a process ends that asked for more memory than there is.
KILLED = (-signal.SIGKILL, -signal.SIGABRT)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Propose batch size and gradient accumulation'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--target',
        type=int,
        help='images per step of the optimizer, all GPUs together (default: '
        'auto_scale_lr.base_batch_size of the config, else 16)',
    )
    parser.add_argument(
        '--num-gpus', type=int, default=1, help='that train (default: 1)'
    )
    parser.add_argument(
        '--memory-gib',
        type=float,
        help='memory that a process may take, in GiB (default: 90 %% of the '
        "GPU's free memory, without a GPU of the available main memory)",
    )
    parser.add_argument(
        '--num-objects',
        type=int,
        default=100,
        help='objects in every image (default: 100)',
    )
    parser.add_argument('--probe', type=int, help=argparse.SUPPRESS)
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    for name in ('target', 'num_gpus', 'num_objects', 'memory_gib'):
        value = getattr(args, name)
        if value is not None and value <= 0:
            option = '--' + name.replace('_', '-')
            stop(f'{option} has to be positive, got {value}')
    return args


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


def largest_shape(cfg: Config) -> tuple[int, int]:
    """Give the largest (height, width) in pixels that a config trains on.

    With ``keep_ratio``, lying and upright images may share a batch, which is
    then padded to the long side both ways.

    Raises:
        SystemExit: If the training pipeline does not resize.
    """
    for augment in cfg.model.data_preprocessor.get('batch_augments') or []:
        if augment.type == 'BatchMultiScaleResize':
            keys = ('img_size', 'patch_size', 'num_windows', 'expanded')
            sizes = multi_scale_sizes(
                **{key: augment[key] for key in keys if key in augment}
            )
            return tuple(sizes[-1])
    resizes = [s for s in _train_pipeline(cfg) if 'Resize' in str(s.type)]
    if not resizes:
        stop('the training pipeline has no resizing step at its top level')
    scales = resizes[-1].get('scales') or [resizes[-1].scale]
    scales = [(s, s) if isinstance(s, int) else s for s in scales]
    if resizes[-1].get('keep_ratio'):
        scales = [(max(scale), max(scale)) for scale in scales]
    return max(h for _, h in scales), max(w for w, _ in scales)


def _train_pipeline(cfg: Config) -> list[dict]:
    dataset = cfg.train_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset.pipeline


def synthetic_batch(
    cfg: Config, batch_size: int, num_objects: int
) -> dict[str, list]:
    """Make a batch as a data loader gives it.

    Args:
        cfg: The config, for the shape, the classes and whether there are
            masks.
        batch_size: Images.
        num_objects: In every image.

    Returns:
        ``inputs``, uint8 of shape (3, h, w), and ``data_samples``.
    """
    height, width = largest_shape(cfg)
    has_masks = any(step.get('with_mask') for step in _train_pipeline(cfg))
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
        num_objects: In every image.
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
        num_objects: In every image.
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


# The program.


def probe_in_process(arguments: Sequence[str], size: int) -> dict[str, Any]:
    """Run :func:`probe` in a process of its own, which may be killed.

    Raises:
        SystemExit: If it ends with another error than exhausted memory.
    """
    command = [sys.executable, '-W', 'ignore', __file__, *arguments]
    done = subprocess.run(
        [*command, '--probe', str(size)], capture_output=True, text=True
    )
    if done.returncode in KILLED:
        return dict(fits=False)
    if done.returncode:
        stop(f'a batch of {size} failed:\n{done.stderr.strip()}')
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(argv: Sequence[str] | None = None) -> str | None:
    """Print a table and the options to train with, and return these."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse_args(argv)
    register_all_modules(init_default_scope=True)
    with input_errors_in_one_line():
        cfg = read_config(args)
        if args.probe is not None:
            result = probe(cfg, args.probe, args.num_objects, args.memory_gib)
            print(json.dumps(result))
            return None
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    target = args.target or base or 16
    if target % args.num_gpus:
        stop(
            f'{target} images per step cannot be shared by {args.num_gpus} '
            'GPUs; give a multiple of them by --target'
        )
    height, width = largest_shape(cfg)
    print(f'{height} x {width} px, {args.num_objects} objects per image')
    print(f'{"batch":>6} {"peak GiB":>9} {"s per batch":>12}')

    def fits(size: int) -> bool:
        result = probe_in_process(argv, size)
        row = f'{size:6d} '
        if result['fits']:
            row += f'{result["peak_gib"]:9.2f} {result["seconds"]:12.3f}'
        else:
            row += f'{"more than " + result.get("limit", "there is"):>22}'
        print(row, flush=True)
        return result['fits']

    largest = find_largest(fits, target // args.num_gpus)
    if not largest:
        stop(
            f'not even one image of {height} x {width} px with '
            f'{args.num_objects} objects fits. Lower the image size, or set '
            'model.backbone.with_cp=True or optim_wrapper.type='
            'AmpOptimWrapper optim_wrapper.dtype=bfloat16'
        )
    batch_size, count = split_target(largest, target // args.num_gpus)
    options = [
        f'train_dataloader.batch_size={batch_size}',
        f'optim_wrapper.accumulative_counts={count}',
        *_multi_scale_options(cfg, count),
    ]
    line = '--cfg-options ' + ' '.join(options)
    print(
        f'{target} images per step = {batch_size} per batch x {count} '
        f'accumulated x {args.num_gpus} GPU or CPU process:\n{line}'
    )
    return line


def _multi_scale_options(cfg: Config, count: int) -> list[str]:
    """One image size per step of the optimizer, as upstream has it."""
    augments = cfg.model.data_preprocessor.get('batch_augments') or []
    return [
        f'model.data_preprocessor.batch_augments.{number}.interval={count}'
        for number, augment in enumerate(augments)
        if augment.type == 'BatchMultiScaleResize'
    ]


if __name__ == '__main__':
    main()
