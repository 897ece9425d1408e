"""Pack a data set into tar files (shards) for training from few large files.

The shards are those of WebDataset: an image file as it is and a JSON text
with its annotations for each sample, and an index for each split. rfdetr
1.11.2 reads them, too. rfdetr-mm train DIR trains from them: batches,
shuffling and resuming are those of the loose files. A run that was stopped is
taken up where it was.

Examples:
  rfdetr-mm pack DATASET --out SHARDS
  rfdetr-mm pack DATASET --out SHARDS --shard-mb 500
"""

import argparse

from rfdetr_mm_light.errors import UsageError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument(
        'dataset', metavar='DATASET', help='the folder of a data set'
    )
    parser.add_argument(
        '--out',
        required=True,
        metavar='DIR',
        help='the folder of the shards; splits that are there are replaced '
        'when the new ones are complete',
    )
    parser.add_argument(
        '--shard-mb',
        type=float,
        default=100,
        metavar='MB',
        help='a shard is closed as soon as it has so many megabytes (2**20 '
        'bytes); default: 100',
    )
    parser.add_argument(
        '--layout',
        default='auto',
        help='roboflow, coco, flat or yolo, where a folder fits several',
    )


def check(args: argparse.Namespace) -> None:
    """Refuse shards without room.

    Raises:
        UsageError: If ``--shard-mb`` is not positive.
    """
    if not args.shard_mb > 0:
        raise UsageError(
            f'--shard-mb must be more than 0, but is {args.shard_mb}'
        )
