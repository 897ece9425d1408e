"""Read the annotations of a split in shards, as of a COCO file."""

import json
import os
import tarfile
from collections.abc import Iterator
from typing import Any

from rfdetr_mm.errors import InputError
from rfdetr_runtime.image_file import open_picture

from .shard_index import ShardIndex, is_shard_index, parse_index, read_places
from .storage import address, read_member

__all__ = ['is_shard_index', 'read_shards']


def read_shards(path: str, content: dict[str, Any]) -> dict[str, Any]:
    """Read the annotations of all samples.

    Args:
        path: The index, a local file.
        content: What it holds.

    Returns:
        The content of a COCO annotation file; ``file_name`` of the images is
        their address in a shard, see
        :class:`~rfdetr_mm.datasets.shards.ShardBackend`.

    Raises:
        InputError: If the index or a shard is damaged, missing or another
            one than was packed.
    """
    if '://' in path:
        raise InputError(
            f'Shards are read from local disks, but their index is {path}. '
            'Copy the folder to one, or mount it.'
        )
    index = parse_index(path, content)
    folder = os.path.dirname(os.path.abspath(path))
    samples = (
        _scanned(path, index, folder)
        if index.places is None
        else _packed(path, index, folder)
    )
    images, annotations = [], []
    for name, text, place, size in samples:
        sample = _parse_text(name, text)
        tar, offset, num_bytes, crc = place
        height, width = size or (sample.get('height'), sample.get('width'))
        images.append(
            dict(
                id=sample['image_id'],
                file_name=address(
                    tar, offset, num_bytes, crc, sample['file_name']
                ),
                height=height,
                width=width,
            )
        )
        annotations += [
            dict(annotation, image_id=sample['image_id'])
            for annotation in sample['annotations']
        ]
    if len(images) != index.num_samples:
        raise InputError(
            f'{path} promises {index.num_samples} samples, its shards hold '
            f'{len(images)}. Copy the shards anew, or pack the data set again.'
        )
    return dict(
        images=images,
        annotations=annotations,
        categories=list(index.categories),
    )


def _packed(
    path: str, index: ShardIndex, folder: str
) -> Iterator[tuple[str, bytes, tuple, None]]:
    """Samples whose places are known; the sizes are in their texts."""
    for number, shard in enumerate(index.shards):
        _check_size(os.path.join(folder, shard), index, number)
    for place in read_places(path, index).tolist():
        shard, offset, size, crc, text_offset, text_size, text_crc = place
        tar = os.path.join(folder, index.shards[shard])
        name = f'{tar}, the text at {text_offset}'
        text = read_member(tar, text_offset, text_size, text_crc, name)
        yield name, text, (tar, offset, size, crc), None


def _check_size(tar: str, index: ShardIndex, number: int) -> None:
    if not os.path.isfile(tar):
        raise InputError(
            f'There is no shard {tar}, which its index names. Copy the folder '
            'anew, or pack the data set again.'
        )
    found = os.path.getsize(tar)
    if index.bytes_per_shard and found != index.bytes_per_shard[number]:
        raise InputError(
            f'{tar} was changed after it was packed: it has {found} bytes, '
            f'its index says {index.bytes_per_shard[number]}. Copy the file '
            'anew, or pack the data set again.'
        )


def _scanned(
    path: str, index: ShardIndex, folder: str
) -> Iterator[tuple[str, bytes, tuple, tuple[int, int]]]:
    """Samples of shards without known places, such as rfdetr's."""
    for number, shard in enumerate(index.shards):
        tar = os.path.join(folder, shard)
        _check_size(tar, index, number)
        try:
            with tarfile.open(tar, 'r:') as file:
                yield from _samples_of_tar(tar, file)
        except tarfile.TarError as error:
            raise InputError(
                f'{tar}, which {path} names, is not a whole tar file: {error}'
            ) from error


def _samples_of_tar(
    tar: str, file: tarfile.TarFile
) -> Iterator[tuple[str, bytes, tuple, tuple[int, int]]]:
    members: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in file:
        if member.isfile():
            key, _, extension = member.name.partition('.')
            kind = 'text' if extension == 'json' else 'image'
            members.setdefault(key, {})[kind] = member
    for key, found in members.items():
        name = f'{tar}, sample {key}'
        if len(found) != 2:
            raise InputError(
                f'{name} must have an image and a .json, but has '
                f'{", ".join(m.name for m in found.values())} alone.'
            )
        image = found['image']
        with open_picture(file.extractfile(image), name) as picture:
            size = picture.size[::-1]
        place = (tar, image.offset_data, image.size, None)
        yield name, file.extractfile(found['text']).read(), place, size


def _parse_text(name: str, text: bytes) -> dict[str, Any]:
    try:
        sample = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f'{name} is not JSON: {error}') from error
    rule = (
        'must be an object with image_id, file_name, a text, and annotations, '
        'a list of objects'
    )
    if not (
        isinstance(sample, dict)
        and 'image_id' in sample
        and isinstance(sample.get('file_name'), str)
        and sample['file_name']
        and isinstance(sample.get('annotations'), list)
        and all(isinstance(entry, dict) for entry in sample['annotations'])
    ):
        raise InputError(f'{name} {rule}, but is {text[:80]!r}.')
    return sample
