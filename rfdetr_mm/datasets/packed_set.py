"""Pack all splits of a data set into shards."""

import os
from collections.abc import Callable
from pathlib import PurePath

from rfdetr_mm.errors import InputError

from .image_folders import compare_with_folders
from .layouts import SPLITS
from .shards import PackedSplit, is_address, pack_split
from .shards.packing import MAX_SHARD_BYTES
from .splits import Split, find_splits


def pack_data_set(
    folder: str,
    out: str,
    layout: str = 'auto',
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> list[PackedSplit]:
    """Write the shards of every split that a data set has.

    Args:
        folder: The data set, in a layout of
            :func:`~rfdetr_mm.datasets.layouts.detect_layout`.
        out: Where to write; another folder. See
            :func:`~rfdetr_mm.datasets.shards.pack_split`, also for what
            happens when it is interrupted.
        layout: The layout; ``'auto'`` for the one that fits.
        max_shard_bytes: A shard is closed as soon as it has so many bytes.
        progress: Called with the split, the number of its images that are
            packed, and of all its images.

    Returns:
        What was written, one entry for each split.

    Raises:
        InputError: If the data set cannot be used or is in shards already,
            or an image is missing.
    """
    root = os.path.abspath(folder)
    _, splits = find_splits(layout, root, {s: {} for s in SPLITS}, SPLITS)
    work = []
    for name, split in splits.items():
        sources, names = _images(root, split)
        if is_address(sources[0]):
            raise InputError(
                f'{split.file.path} is the index of shards. Name the data set '
                'that they were made of.'
            )
        missing, _ = compare_with_folders(sources)
        if missing:
            raise InputError(
                f'{split.file.path}: {len(missing)} of {len(sources)} image '
                f'files are not there, such as {missing[0]}. Copy them, or '
                'remove them from the annotations: no image is left out.'
            )
        work.append((name, split, sources, names))
    packed = []
    for name, split, sources, names in work:

        def show(done: int, split: str = name, of: list = names) -> None:
            progress(split, done, len(of))

        packed.append(
            pack_split(
                *(split.file, sources, names, out, name, max_shard_bytes),
                progress=show,
            )
        )
    return packed


def _images(root: str, split: Split) -> tuple[list[str], list[str]]:
    """Where the images are, and what they are called in the shards."""
    names = [image['file_name'] for image in split.file.images]
    if is_address(names[0]):
        return names, names
    folder = os.path.join(root, split.image_folder)
    sources = [os.path.normpath(os.path.join(folder, name)) for name in names]
    return sources, [
        _name_in_shard(root, source, name)
        for source, name in zip(sources, names)
    ]


def _name_in_shard(root: str, source: str, name: str) -> str:
    """The name itself, unless it is not below the folder of the images."""
    path = PurePath(name)
    if not path.is_absolute() and '..' not in path.parts:
        return name
    below = PurePath(os.path.relpath(source, root))
    return below.name if '..' in below.parts else below.as_posix()
