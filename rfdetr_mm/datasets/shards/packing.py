"""Write a split into tar files that WebDataset readers take, and an index."""

import hashlib
import json
import os
import re
import shutil
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.files import atomic_file, exclusive_file
from rfdetr_runtime.image_file import IMAGE_SUFFIXES, read_size

from .shard_index import (
    PLACES,
    ShardIndex,
    index_name,
    is_shard_index,
    parse_index,
)

MAX_SHARD_BYTES = 100 * 1024 * 1024  # as rfdetr's
_BLOCK = tarfile.BLOCKSIZE
_SPLIT_CHARACTERS = frozenset(
    'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_'
)


@dataclass(frozen=True)
class PackedSplit:
    """What was written.

    Args:
        path: The index.
        num_samples: Number of images.
        num_shards: Number of tar files.
        num_bytes: Size of all tar files.
        num_reused: Shards that an interrupted run had finished.
    """

    path: str
    num_samples: int
    num_shards: int
    num_bytes: int
    num_reused: int


@dataclass(frozen=True)
class _Sample:
    source: str
    name: str  # of the member, without extension
    extension: str
    text: bytes


def pack_split(
    file: Any,
    sources: Sequence[str],
    names: Sequence[str],
    folder: str,
    split: str,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Callable[[int], None] = lambda done: None,
) -> PackedSplit:
    """Write the tar files and the index of one split.

    A sample is two members, ``00000017.jpg``, the image file as it is, and
    ``00000017.json`` with its ``image_id``, ``file_name``, ``height``,
    ``width`` and ``annotations``. The same files give the same bytes. The
    names of the shards carry a token of their content, and the index is
    written last: until then, readers have what was packed before. An
    interrupted run is taken up after its last finished shard.

    Args:
        file: The annotations, a :class:`~rfdetr_mm.datasets.CocoFile`.
        sources: The image file of each of its images.
        names: ``file_name`` of each image, a relative path.
        folder: The folder to write into. Other splits may be there.
        split: Name of the split: letters, digits and underscores.
        max_shard_bytes: A shard is closed as soon as it has so many bytes.
        progress: Called with the number of images that are packed.

    Returns:
        What was written.

    Raises:
        InputError: If an argument, an image file or the folder cannot be
            used, or another process packs the same split.

    Source: rfdetr 1.11.2, datasets/webdataset/pack.py (Apache-2.0), for the
        names of members, shards and fields.
    """
    _check_arguments(split, max_shard_bytes)
    _check_folder(folder, split)
    samples = _samples(file, sources, names)
    plan = hashlib.sha256(
        json.dumps(
            [
                *(split, max_shard_bytes, file.categories),
                *([s.name, s.extension, s.text.decode()] for s in samples),
            ],
            sort_keys=True,
        ).encode()
    ).hexdigest()
    target = Path(folder).absolute()
    target.mkdir(parents=True, exist_ok=True)
    work = target / f'.{split}-pack'
    with _alone(work, split):
        _begin(work, plan)
        shards = _finished(work, target, samples)
        num_reused = len(shards)
        position = sum(len(shard['places']) for shard in shards)
        progress(position)
        while position < len(samples):
            shard = _write_shard(
                work, len(shards), samples, position, max_shard_bytes, progress
            )
            shards.append(shard)
            position += len(shard['places'])
        index = _publish(work, target, split, plan, shards, file)
    return PackedSplit(
        str(target / index_name(split)),
        index.num_samples,
        len(index.shards),
        sum(index.bytes_per_shard),
        num_reused,
    )


def _check_arguments(split: str, max_shard_bytes: int) -> None:
    if not split or not _SPLIT_CHARACTERS.issuperset(split):
        raise InputError(
            'The name of a split must be letters, digits and underscores, '
            f'as it begins names of files, but is {split!r}.'
        )
    if max_shard_bytes < 1:
        raise InputError(
            'A shard must have room for at least 1 byte, but '
            f'max_shard_bytes is {max_shard_bytes}.'
        )


def _check_folder(folder: str, split: str) -> None:
    """Refuse to write over a file that is not an index."""
    path = os.path.join(folder, index_name(split))
    if not os.path.lexists(path):
        return
    try:
        content = json.loads(Path(path).read_bytes())
        if not is_shard_index(content):
            raise InputError('it is not an index of shards.')
        parse_index(path, content)
    except (OSError, ValueError, InputError) as error:
        raise InputError(
            f'{path} is there and was not written by this command: {error} '
            'Name another folder: nothing of others is written over.'
        ) from error


def _samples(
    file: Any, sources: Sequence[str], names: Sequence[str]
) -> list[_Sample]:
    annotations = defaultdict(list)
    for annotation in file.annotations:
        annotations[annotation['image_id']].append(annotation)
    samples = []
    for number, (image, source, name) in enumerate(
        zip(file.images, sources, names, strict=True)
    ):
        path = Path(name)
        if path.is_absolute() or '..' in path.parts:
            raise InputError(
                f'{file.path}: the name of an image in a shard must be a path '
                f'below the folder of the images, but is {name!r}.'
            )
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(
                f'{file.path}: the image {name} must end with one of '
                f'{", ".join(IMAGE_SUFFIXES)}, as readers of shards know the '
                'images by it. Rename the file and its file_name.'
            )
        height, width = image['height'], image['width']
        if height is None:
            (height, width), _ = read_size(source)
        text = dict(
            image_id=image['id'],
            file_name=path.as_posix(),
            height=height,
            width=width,
            annotations=annotations[image['id']],
        )
        samples.append(
            _Sample(
                source,
                f'{number:08d}',
                path.suffix.lower().lstrip('.'),
                json.dumps(text).encode(),
            )
        )
    return samples


def _alone(work: Path, split: str) -> AbstractContextManager[None]:
    return exclusive_file(
        f'{work}.lock',
        f'Another process packs the split {split} into {work.parent}. Wait '
        'until it has ended.',
    )


def _begin(work: Path, plan: str) -> None:
    """Keep an interrupted run of the same content, and no other."""
    file = work / 'plan'
    if not file.is_file() or file.read_text() != plan:
        if work.exists():
            shutil.rmtree(work)
        work.mkdir()
        with atomic_file(file) as stream:
            stream.write(plan.encode())


def _finished(
    work: Path, target: Path, samples: Sequence[_Sample]
) -> list[dict[str, Any]]:
    """Shards of an interrupted run whose image files are still the same."""
    shards: list[dict[str, Any]] = []
    position = 0
    while (record := work / f'{len(shards):06d}.json').is_file():
        shard = json.loads(record.read_bytes())
        end = position + len(shard['places'])
        tar = _staged(work, target, len(shards))
        stamps = [_stamp(sample) for sample in samples[position:end]]
        if tar is None or shard['stamps'] != stamps:
            break
        shards.append(shard)
        position = end
    return shards


def _staged(work: Path, target: Path, number: int) -> Path | None:
    """Where a finished shard is, which may have got its last name already."""
    if (path := work / f'{number:06d}.tar').is_file():
        return path
    names = work / 'names.json'
    if names.is_file():
        path = target / json.loads(names.read_bytes())[number]
        if path.is_file():
            return path
    return None


def _stamp(sample: _Sample) -> list[int]:
    """What changes when an image file is written anew."""
    try:
        found = os.stat(sample.source)
    except OSError as error:
        raise InputError(
            f'{sample.source} cannot be packed: {error}'
        ) from error
    return [found.st_size, found.st_mtime_ns]


def _write_shard(
    work: Path,
    number: int,
    samples: Sequence[_Sample],
    begin: int,
    max_bytes: int,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    """Write one shard and, when it is whole, its record."""
    places, stamps = [], []
    path = work / f'{number:06d}.tar'
    with atomic_file(path) as file:
        tar = _Tar(file)
        for sample in samples[begin:]:
            stamps.append(_stamp(sample))
            data = _read_image(sample)
            image = tar.add(f'{sample.name}.{sample.extension}', data)
            text = tar.add(f'{sample.name}.json', sample.text)
            places.append((number, *image, *text))
            progress(begin + len(places))
            if tar.size >= max_bytes:
                break
        tar.close()
    shard = dict(
        sha256=tar.digest.hexdigest(),
        bytes=tar.size,
        places=places,
        stamps=stamps,
    )
    with atomic_file(work / f'{number:06d}.json') as file:
        file.write(json.dumps(shard).encode())
    return shard


def _read_image(sample: _Sample) -> bytes:
    try:
        return Path(sample.source).read_bytes()
    except OSError as error:
        raise InputError(
            f'{sample.source} cannot be packed: {error}'
        ) from error


class _Tar:
    """A tar file without times and owners, whose places are known.

    Args:
        file: The stream to write into.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def add(self, name: str, data: bytes) -> tuple[int, int, int]:
        """Write a member; return its offset, size and CRC-32."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self.size
        self._write(data)
        self._write(bytes(-len(data) % _BLOCK))
        return offset, len(data), zlib.crc32(data)

    def close(self) -> None:
        """Write the end: two empty blocks, and what fills the record."""
        self._write(bytes(2 * _BLOCK))
        self._write(bytes(-self.size % tarfile.RECORDSIZE))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)


def _publish(
    work: Path,
    target: Path,
    split: str,
    plan: str,
    shards: Sequence[dict[str, Any]],
    file: Any,
) -> ShardIndex:
    """Give the shards their names, then write the index, at last tidy up."""
    digests = [shard['sha256'] for shard in shards]
    token = hashlib.sha256(json.dumps([plan, digests]).encode()).hexdigest()
    begin = f'{split}-{token[:8]}'
    names = [f'{begin}-{number:06d}.tar' for number in range(len(shards))]
    with atomic_file(work / 'names.json') as stream:
        stream.write(json.dumps(names).encode())
    for number, name in enumerate(names):
        _staged(work, target, number).replace(target / name)
    places = np.array(
        [tuple(place) for shard in shards for place in shard['places']], PLACES
    )
    # Written where a stopped run is tidied up, renamed when they are whole.
    np.save(work / 'places.npy', places, allow_pickle=False)
    (work / 'places.npy').replace(target / f'{begin}-places.npy')
    index = ShardIndex(
        split=split,
        shards=tuple(names),
        samples_per_shard=tuple(len(shard['places']) for shard in shards),
        num_samples=len(places),
        categories=tuple(file.categories),
        annotated_category_ids=tuple(sorted(file.annotated_category_ids())),
        bytes_per_shard=tuple(shard['bytes'] for shard in shards),
        places=f'{begin}-places.npy',
    )
    index.write(work / 'index.json')
    (work / 'index.json').replace(target / index_name(split))
    # What was packed before, also by a run that was stopped here.
    ours = re.compile(rf'{split}-[0-9a-f]{{8}}-(\d{{6}}\.tar|places\.npy)')
    for path in target.iterdir():
        if ours.fullmatch(path.name) and path.name not in (
            *index.shards,
            index.places,
        ):
            path.unlink()
    shutil.rmtree(work)
    return index
