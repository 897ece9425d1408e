"""What is in the shards of a split: the file SPLIT-index.json.

rfdetr 1.11.2 reads and writes the same file, version 1. Ours names one more,
a numpy array with the place of every sample; without it the headers of the
tar files are read.

Source: rfdetr 1.11.2, datasets/webdataset/index.py (Apache-2.0), for the
    names of the fields and of the files.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from rfdetr_mm.errors import InputError

VERSION = 1
SUFFIX = '-index.json'
PLACES = np.dtype(
    [
        ('shard', '<u4'),
        ('image_offset', '<u8'),
        ('image_size', '<u8'),
        ('image_crc', '<u4'),
        ('text_offset', '<u8'),
        ('text_size', '<u4'),
        ('text_crc', '<u4'),
    ]
)
"""One sample: its shard's number; where the bytes of the image and of its
JSON text begin in the tar file, how many there are, and their CRC-32."""


@dataclass(frozen=True)
class ShardIndex:
    """One split of a data set in shards.

    Args:
        split: Its name.
        shards: Names of the tar files, beside the index, in order.
        samples_per_shard: Number of samples of each; may be empty in files
            of others.
        num_samples: Number of all samples.
        categories: As in a COCO annotation file.
        annotated_category_ids: Ids of categories that have boxes.
        bytes_per_shard: Size of each tar file; empty in files of others.
        places: Name of the file with the places; None in files of others.
    """

    split: str
    shards: tuple[str, ...]
    samples_per_shard: tuple[int, ...]
    num_samples: int
    categories: tuple[dict[str, Any], ...]
    annotated_category_ids: tuple[int, ...]
    bytes_per_shard: tuple[int, ...] = ()
    places: str | None = None

    def write(self, path: Path) -> None:
        """Write the file.

        Args:
            path: The file to write.
        """
        content = dict(
            version=VERSION,
            split=self.split,
            shards=self.shards,
            num_samples=self.num_samples,
            categories=self.categories,
            annotated_category_ids=self.annotated_category_ids,
            # Labels go by names, so both of rfdetr's numberings are read.
            category_ids='remap',
            samples_per_shard=self.samples_per_shard,
            bytes_per_shard=self.bytes_per_shard,
            places=self.places,
        )
        path.write_text(json.dumps(content))


def index_name(split: str) -> str:
    """Name of the index of a split."""
    return f'{split}{SUFFIX}'


def is_shard_index(content: Any) -> bool:
    """Whether the content of a JSON file is that of an index."""
    return (
        isinstance(content, dict)
        and 'shards' in content
        and 'images' not in content
    )


def parse_index(path: str, content: dict[str, Any]) -> ShardIndex:
    """Check the content of an index.

    Args:
        path: The file, for messages.
        content: What it holds.

    Returns:
        The index.

    Raises:
        InputError: If it is of another version, a field is missing or is not
            what it must be, or a shard lies outside its folder.
    """
    version = content.get('version')
    if version != VERSION:
        raise InputError(
            f'{path} is an index of version {version!r}, this package reads '
            f'version {VERSION}. Pack the data set again: rfdetr-mm pack '
            'DATASET --out DIR.'
        )
    shards = content['shards']
    if not isinstance(shards, list) or not shards:
        _fail(path, 'shards', 'must be a list of file names', shards)
    places = content.get('places')
    for name in [*shards, *([] if places is None else [places])]:
        if not isinstance(name, str) or os.path.basename(name) != name:
            _fail(path, 'shards', 'must be files beside the index', name)
    index = ShardIndex(
        split=str(content.get('split')),
        shards=tuple(shards),
        samples_per_shard=_counts(path, content, 'samples_per_shard'),
        num_samples=_counts(path, content, 'num_samples')[0],
        categories=tuple(_list(path, content, 'categories')),
        annotated_category_ids=tuple(
            _list(path, content, 'annotated_category_ids')
        ),
        bytes_per_shard=_counts(path, content, 'bytes_per_shard'),
        places=places,
    )
    for key in ('samples_per_shard', 'bytes_per_shard'):
        numbers = getattr(index, key)
        if numbers and len(numbers) != len(shards):
            rule = f'must have one number for each of {len(shards)} shards'
            _fail(path, key, rule, list(numbers))
    return index


def read_places(path: str, index: ShardIndex) -> np.ndarray:
    """Read where the samples are.

    Args:
        path: Path of the index.
        index: What it holds; it names the file of places.

    Returns:
        Array (samples,) of :data:`PLACES`.

    Raises:
        InputError: If the file is missing, damaged or of another index.
    """
    file = os.path.join(os.path.dirname(path), index.places)
    try:
        places = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f'{file}, which {path} names, cannot be read: {error}'
        ) from error
    if places.dtype != PLACES or places.shape != (index.num_samples,):
        raise InputError(
            f'{file} has {places.shape} entries of {places.dtype.names}, but '
            f'{path} has {index.num_samples} samples. Copy all files of the '
            'folder anew, or pack the data set again.'
        )
    if len(places) and places['shard'].max() >= len(index.shards):
        raise InputError(
            f'{file} has places in shard {places["shard"].max()}, but {path} '
            f'has {len(index.shards)} shards, counted from 0. Copy all files '
            'of the folder anew, or pack the data set again.'
        )
    return places


def _counts(path: str, content: dict[str, Any], key: str) -> tuple[int, ...]:
    """One number, or a list of them; () where an optional list is missing."""
    value = content.get(key)
    if key != 'num_samples':
        numbers = [] if value is None else value
    else:
        numbers = [value]
    if not isinstance(numbers, list) or not all(
        type(number) is int and number >= 0 for number in numbers
    ):
        _fail(path, key, 'must be whole numbers', value)
    return tuple(numbers)


def _list(path: str, content: dict[str, Any], key: str) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list):
        _fail(path, key, 'must be a list', value)
    return value


def _fail(path: str, key: str, rule: str, value: Any) -> NoReturn:
    raise InputError(f'{path}: {key} {rule}, but is {value!r:.80}.')
