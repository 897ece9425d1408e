"""Run ``rfdetr-mm pack``.

Its options are in ``rfdetr_mm_light/command_line/pack.py``.
"""

import argparse
import os

from rich.progress import MofNCompleteColumn, Progress

from rfdetr_mm.datasets.packed_set import pack_data_set

_MIB = 1 << 20


def run(args: argparse.Namespace) -> None:
    """Write the shards, and say what was written."""
    with Progress(
        *Progress.get_default_columns(), MofNCompleteColumn()
    ) as bars:
        tasks = {}

        def show(split: str, done: int, total: int) -> None:
            if split not in tasks:
                tasks[split] = bars.add_task(split, total=total)
            bars.update(tasks[split], completed=done)

        packed = pack_data_set(
            args.dataset,
            args.out,
            args.layout,
            max(1, int(args.shard_mb * _MIB)),
            show,
        )
    for split in packed:
        reused = (
            f' ({split.num_reused} of an interrupted run)'
            if split.num_reused
            else ''
        )
        print(
            f'{os.path.relpath(split.path)}: {split.num_samples} images in '
            f'{split.num_shards} shards{reused}, '
            f'{split.num_bytes / _MIB:.1f} MiB'
        )
