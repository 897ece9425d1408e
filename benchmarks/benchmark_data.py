"""Time the training data of a config, beside upstream's on the same images.

``benchmark_data.py CONFIG``: images per second from files to batches, without
and with worker processes; boxes, masks or keypoints, as the config has them.
``--cfg-options data_root=DIR`` names a data set; without it, photograph-like
files are written into a temporary folder. Where rfdetr is installed, its own
data set, transforms and collation run on the same files, turn by turn with
ours, so that a busy machine slows both.
"""

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import clone  # noqa: F401  first: this clone's package and tools
from run_config import (  # noqa: E402  (puts this clone in front)
    add_cfg_options,
    input_errors_in_one_line,
    read_config,
)

# isort: split
import numpy as np  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from options import parser, positive  # noqa: E402
from paired_rounds import paired_rounds, say  # noqa: E402
from photographs import write_photographs  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from rfdetr_mm.datasets import resolve_own_data  # noqa: E402
from rfdetr_mm.errors import InputError  # noqa: E402
from rfdetr_mm.sizes.config_facts import image_size  # noqa: E402

TASKS = dict(
    RFDETRHead='boxes', RFDETRInsHead='masks', RFDETRPoseHead='keypoints'
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    given = parser('Time the data pipeline')
    add = given.add_argument
    add('config', help='config file, of square images')
    add('--batch-size', type=positive, default=8, help='images')
    add(
        '--workers',
        type=int,
        nargs='+',
        default=[0, 2],
        help='numbers of worker processes',
    )
    add(
        '--passes',
        type=positive,
        default=5,
        help='over the data, one before them',
    )
    add(
        '--images',
        type=positive,
        default=160,
        help='that are written where no data_root is given',
    )
    add_cfg_options(given)
    return given.parse_args(argv)


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
    """Build upstream's data loader for the same files, size and task.

    Its keypoints of classes and its pairs of left and right are those that
    its own training infers from the annotation file.

    Raises:
        ImportError: If rfdetr is not installed.
    """
    from rfdetr.datasets._keypoint_schema import infer_coco_keypoint_schema
    from rfdetr.datasets.coco import (
        CocoDetection,
        draft_size_for_transforms,
        make_coco_transforms_square_div_64,
    )
    from rfdetr.utilities.tensors import make_collate_fn

    data = cfg.train_dataloader.dataset
    size, task = _image_size(cfg), task_of(cfg)
    ann_file = os.path.join(data.data_root, data.ann_file)
    options, flip_pairs = {}, None
    if task == 'keypoints':
        schema = infer_coco_keypoint_schema(ann_file)
        options = dict(
            include_keypoints=True,
            num_keypoints_per_class=schema.num_keypoints_per_class,
        )
        flip_pairs = schema.keypoint_flip_pairs
    dataset = CocoDetection(
        os.path.join(data.data_root, data.data_prefix.img),
        ann_file,
        transforms=make_coco_transforms_square_div_64(
            'train', size, keypoint_flip_pairs=flip_pairs
        ),
        include_masks=task == 'masks',
        remap_category_ids=True,
        draft_size=draft_size_for_transforms(
            'train', size, scale_jitter=True, include_masks=task == 'masks'
        ),
        **options,
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


def task_of(cfg: Config) -> str:
    """What a config finds besides classes: boxes, masks or keypoints."""
    return TASKS[cfg.model.bbox_head.type]


def _image_size(cfg: Config) -> int:
    height, width = image_size(cfg)
    if width != height:
        raise ValueError(
            f'upstream trains on squares, the config on {height} x {width}'
        )
    return width


def wall_and_cpu() -> np.ndarray:
    """Now, and the processor time of this process, workers excluded."""
    return np.array([time.perf_counter(), time.process_time()])


def one_pass(loader: Iterable, then: Callable[[Any], Any] | None) -> None:
    """Run through all batches once.

    Args:
        loader: The data loader, of full batches.
        then: What is done with each batch, in this process.
    """
    for batch in loader:
        if then is not None:
            then(batch)


def _works(
    cfg: Config, batch_size: int, numbers_of_workers: Sequence[int]
) -> tuple[dict[str, Callable[[], None]], int]:
    """What is timed, by name, and how many images that are."""
    has_upstream = importlib.util.find_spec('rfdetr') is not None
    preprocessor = MODELS.build(
        dict(cfg.model.data_preprocessor, batch_augments=None)
    )
    works = {}
    for workers in numbers_of_workers:
        loader = our_loader(cfg, batch_size, workers)
        name = f'{workers} workers, '
        works[name + 'ours, uint8 batches'] = partial(one_pass, loader, None)
        works[name + 'ours, normalised in this process'] = partial(
            one_pass, loader, partial(preprocessor, training=True)
        )
        if has_upstream:
            works[name + 'rfdetr, normalised by its transforms'] = partial(
                one_pass, upstream_loader(cfg, batch_size, workers), None
            )
    return works, len(loader) * batch_size


def main(argv: Sequence[str] | None = None) -> dict[str, list[float]]:
    """Print a table; return the seconds per image of each pass, by row."""
    args = parse_args(argv)
    register_all_modules(init_default_scope=True)
    with input_errors_in_one_line(), tempfile.TemporaryDirectory() as folder:
        if 'data_root' not in (args.cfg_options or {}):
            say(f'writing {args.images} photograph-like files')
            root = write_photographs(Path(folder) / 'data', args.images)
            args.cfg_options = dict(
                args.cfg_options or {}, data_root=str(root)
            )
        cfg = read_config(args)
        resolve_own_data(cfg)
        size = _image_size(cfg)
        works, images = _works(cfg, args.batch_size, args.workers)
        # Workers start and files are read in the pass that is not timed.
        times = paired_rounds(works, args.passes, say, wall_and_cpu)
    print(
        f'{task_of(cfg)}, {size} x {size} px, batches of {args.batch_size}, '
        f'median of {args.passes} passes'
    )
    print(f'{"":50s} {"images/s":>8s} {"CPU ms/image, this process":>27s}')
    found = {}
    for name, passes in times.items():
        seconds, cpu_seconds = np.median(passes, axis=0)
        cpu_ms = 1000 * cpu_seconds / images
        print(f'{name:50s} {images / seconds:8.1f} {cpu_ms:27.2f}')
        found[name] = [float(one[0] / images) for one in passes]
    return found


if __name__ == '__main__':
    main()
