"""Time the training data of a config, beside upstream's on the same images.

``benchmark_data.py CONFIG --cfg-options data_root=DIR``: images per second
from files to batches, without and with worker processes. Where rfdetr is
installed, its own data set, transforms and collation run on the same files,
turn by turn with ours, so that a busy machine slows both.
"""

import argparse
import importlib.util
import os
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

import clone  # noqa: F401  first: this clone's package and tools
from run_config import (  # noqa: E402  (puts this clone in front)
    add_cfg_options,
    input_errors_in_one_line,
    read_config,
)

# isort: split
from mmdet.registry import MODELS  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from rfdetr_mm.datasets import resolve_own_data  # noqa: E402
from rfdetr_mm.errors import InputError  # noqa: E402
from rfdetr_mm.sizes.config_facts import image_size  # noqa: E402

MIN_DRAFT_SIZE = 600  # px; upstream's crop branch resizes to that


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Time the data pipeline')
    parser.add_argument('config', help='config file, of square images')
    parser.add_argument(
        '--batch-size', type=int, default=8, help='(default: 8)'
    )
    parser.add_argument(
        '--workers',
        type=int,
        nargs='+',
        default=[0, 2],
        help='numbers of worker processes (default: 0 2)',
    )
    parser.add_argument(
        '--passes',
        type=int,
        default=5,
        help='over the data set, one more before them (default: 5)',
    )
    add_cfg_options(parser)
    return parser.parse_args(argv)


def our_loader(cfg: Config, batch_size: int, workers: int) -> DataLoader:
    """Build the data loader of a training, as ResumableTrainLoop has it.

    Raises:
        InputError: If the images do not fill one batch.
    """
    loader = cfg.train_dataloader.to_dict()
    loader.update(
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        dataset=dict(type='SeededDataset', dataset=loader['dataset']),
        batch_sampler=dict(type='SeededBatchSampler', drop_last=True),
    )
    built = Runner.build_dataloader(loader, seed=0)
    if len(built) == 0:
        raise InputError(
            f'{len(built.dataset)} training images do not fill a batch of '
            f'{batch_size}: lower --batch-size'
        )
    return built


def upstream_loader(cfg: Config, batch_size: int, workers: int) -> DataLoader:
    """Build upstream's data loader for the same files and image size.

    Raises:
        ImportError: If rfdetr is not installed.
    """
    from rfdetr.datasets.coco import (
        CocoDetection,
        make_coco_transforms_square_div_64,
    )
    from rfdetr.utilities.tensors import make_collate_fn

    data = cfg.train_dataloader.dataset
    size = _image_size(cfg)
    dataset = CocoDetection(
        os.path.join(data.data_root, data.data_prefix.img),
        os.path.join(data.data_root, data.ann_file),
        transforms=make_coco_transforms_square_div_64('train', size),
        remap_category_ids=True,
        draft_size=max(size, MIN_DRAFT_SIZE),
    )
    block = cfg.model.data_preprocessor.pad_size_divisor
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=make_collate_fn(block_size=block, pack=True),
    )


def _image_size(cfg: Config) -> int:
    height, width = image_size(cfg)
    if width != height:
        raise ValueError(
            f'upstream trains on squares, the config on {height} x {width}'
        )
    return width


def one_pass(
    loader: Iterable, batch_size: int, then: Callable[[Any], Any] | None
) -> tuple[float, float]:
    """Run through all batches once.

    Args:
        loader: The data loader, of full batches.
        batch_size: Images per batch.
        then: What is done with each batch, in this process.

    Returns:
        Images per second, and milliseconds of processor time per image that
        this process took, workers excluded.
    """
    count = 0
    start, cpu_start = time.perf_counter(), time.process_time()
    for batch in loader:
        if then is not None:
            then(batch)
        count += batch_size
    seconds = time.perf_counter() - start
    return count / seconds, 1000 * (time.process_time() - cpu_start) / count


def _rows(
    cfg: Config, batch_size: int, numbers_of_workers: Sequence[int]
) -> dict[str, tuple[DataLoader, Callable[[Any], Any] | None]]:
    """What is timed: a loader, and what is done with each batch."""
    has_upstream = importlib.util.find_spec('rfdetr') is not None
    preprocessor = MODELS.build(
        dict(cfg.model.data_preprocessor, batch_augments=None)
    )
    rows = {}
    for workers in numbers_of_workers:
        loader = our_loader(cfg, batch_size, workers)
        name = f'{workers} workers, '
        rows[name + 'ours, uint8 batches'] = loader, None
        rows[name + 'ours, normalised in this process'] = (
            loader,
            lambda batch: preprocessor(batch, training=True),
        )
        if has_upstream:
            rows[name + 'rfdetr, normalised by its transforms'] = (
                upstream_loader(cfg, batch_size, workers),
                None,
            )
    return rows


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Print a table; return the median of images per second by row."""
    args = parse_args(argv)
    register_all_modules(init_default_scope=True)
    with input_errors_in_one_line():
        cfg = read_config(args)
        resolve_own_data(cfg)
        size = _image_size(cfg)
        rows = _rows(cfg, args.batch_size, args.workers)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for number in range(args.passes + 1):
        for name, (loader, then) in rows.items():
            timed = one_pass(loader, args.batch_size, then)
            if number:  # workers start and files are read in the first pass
                times[name].append(timed)
    print(
        f'{size} x {size} px, batches of {args.batch_size}, '
        f'median of {args.passes} passes'
    )
    print(f'{"":50s} {"images/s":>8s} {"CPU ms/image, this process":>27s}')
    medians = {}
    for name, timed in times.items():
        speeds, cpu_ms = zip(*timed)
        medians[name] = median(speeds)
        print(f'{name:50s} {medians[name]:8.1f} {median(cpu_ms):27.2f}')
    return medians


if __name__ == '__main__':
    main()
