"""From sources, as a user names them, to entries: one for each image.

A source is

* an image file, whatever its name;
* a folder, whose image files are taken, not those of folders in it;
* a pattern such as ``photos/**/*.jpg``, whose files are taken by their names:
  images, lists, Parquet and tar files; others are left out;
* a text file (``.txt``) with the path or address of an image in each line,
  which counts from the folder of the list;
* a Parquet file with such paths, or with images as bytes;
* a tar file (``.tar``) of WebDataset, whose image members are taken.
"""

import os
import posixpath
import tarfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rfdetr_mm_light.errors import InputError

from ..image_file import IMAGE_SUFFIXES, is_image_name
from .places import (
    PARQUET,
    TAR,
    Entry,
    absolute,
    bytes_column,
    chosen,
    file_system,
    is_local,
    is_web,
    one_line,
    open_file,
)

_PATHS = ('path', 'image', 'file_name', 'file', 'url')
_GLOB = frozenset('*?[')


def list_entries(sources: Sequence[str]) -> Iterator[Entry]:
    """List the images of sources, in the order of the sources.

    Args:
        sources: See this module.

    Yields:
        One entry for each image; an image that is named twice has two.

    Raises:
        InputError: If a source does not exist, cannot be read, or has no
            images.
    """
    for source in sources:
        num = 0
        for entry in _of_source(source):
            yield entry
            num += 1
        if not num:
            raise InputError(_nothing(source))


def _nothing(source: str) -> str:
    suffixes = ', '.join(IMAGE_SUFFIXES)
    return (
        f'{source or "(an empty path)"} has no images: a source is an image, '
        f'a folder or a pattern of them ({suffixes}), a list of paths (.txt, '
        '.parquet), a Parquet file with images, or a .tar file'
    )


def _of_source(source: str) -> Iterator[Entry]:
    if is_web(source):
        yield Entry(source, source)
        return
    with _explained(source):
        files = _Files(source)
        found = files.exists(source)
        is_folder = found and files.is_folder(source)
        matches = []
        if not found and _GLOB.intersection(source):
            matches = files.match(source)
    if is_folder:
        with _explained(source):
            names = files.list_folder(source)
        yield from (
            Entry(address, address)
            for address in names
            if is_image_name(posixpath.basename(address))
        )
    elif found:
        yield from _of_file(source, absolute(source))
    elif not matches and not _GLOB.intersection(source):
        raise InputError(
            f'there is no image, folder or list '
            f'{source or "(an empty path)"}'
            + (f' (seen from {os.getcwd()})' if is_local(source) else '')
        )
    else:
        yield from _of_matches(source, matches)


def _of_matches(source: str, matches: Sequence[str]) -> Iterator[Entry]:
    left_out = []
    for address in matches:
        suffix = os.path.splitext(address)[1].lower()
        if suffix in _READERS:
            yield from _of_file(source, address)
        elif is_image_name(posixpath.basename(address)):
            yield Entry(address, address)
        elif not posixpath.basename(address).startswith('.'):
            left_out.append(address)
    if left_out:
        warnings.warn(
            f'{source}: files whose names are not those of images are left '
            f'out: {len(left_out)}, such as {left_out[0]}.',
            stacklevel=2,
        )


def _of_file(source: str, address: str) -> Iterator[Entry]:
    """Entries of a list, a Parquet file or a tar file; else the image."""
    suffix = os.path.splitext(address)[1].lower()
    if suffix not in _READERS:
        yield Entry(address, address)
        return
    with _explained(address):
        yield from _READERS[suffix](address)


def _of_text(address: str) -> Iterator[Entry]:
    with open_file(address) as file:
        for line in file:
            if name := line.decode().strip():
                yield _named(name, address)


def _named(name: str, listed_in: str) -> Entry:
    """An image whose path counts from the folder of its list."""
    if is_local(name) and not os.path.isabs(name):
        name = posixpath.join(posixpath.dirname(listed_in), name)
    return Entry(name, name)


def _of_parquet(address: str) -> Iterator[Entry]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_file(address) as source:
        file = pq.ParquetFile(source)
        schema = file.schema_arrow
        if bytes_column(schema) is not None:
            row = 0
            for group in range(file.num_row_groups):
                for place in range(file.metadata.row_group(group).num_rows):
                    image = f'{address}::{row}'
                    yield Entry(image, address, PARQUET, place, group)
                    row += 1
            return
        texts = [
            column.name
            for column in schema
            if pa.types.is_string(column.type)
            or pa.types.is_large_string(column.type)
        ]
        name = chosen(texts, _PATHS)
        if name is None:
            raise InputError(
                f'{address} must have a column of paths, called '
                f'{", ".join(_PATHS)} or the only one of text, or one of '
                'images, called bytes or image or the only one of bytes; it '
                f'has {", ".join(schema.names)}'
            )
        for batch in file.iter_batches(batch_size=4096, columns=[name]):
            for path in batch.column(0).to_pylist():
                yield _named(path or '', address)


def _of_tar(address: str) -> Iterator[Entry]:
    with open_file(address) as source:
        with tarfile.open(fileobj=source, mode='r:') as tar:
            while (member := tar.next()) is not None:
                # What tarfile remembers of each member is not needed.
                tar.members.clear()
                name = posixpath.basename(member.name)
                if member.isfile() and is_image_name(name):
                    yield Entry(
                        f'{address}::{member.name}',
                        address,
                        TAR,
                        member.offset_data,
                        member.size,
                    )


_READERS: dict[str, Callable[[str], Iterator[Entry]]] = {
    '.txt': _of_text,
    '.parquet': _of_parquet,
    '.tar': _of_tar,
}


class _Files:
    """What is at an address, by fsspec; local paths are made absolute.

    Args:
        address: Any address of the file system.
    """

    def __init__(self, address: str) -> None:
        self._files, _ = file_system(address)
        self._is_local = is_local(address)

    def exists(self, address: str) -> bool:
        """Whether there is something; not for patterns."""
        if self._is_local:
            return bool(address) and os.path.exists(absolute(address))
        if _GLOB.intersection(address):
            return False
        return self._files.exists(address)

    def is_folder(self, address: str) -> bool:
        """Whether files can be in it."""
        if self._is_local:
            return os.path.isdir(absolute(address))
        return self._files.isdir(address)

    def list_folder(self, address: str) -> list[str]:
        """Addresses of what is in it, sorted."""
        if self._is_local:
            folder = absolute(address)
            with os.scandir(folder) as found:
                names = sorted(item.name for item in found if item.is_file())
            return [os.path.join(folder, name) for name in names]
        names = self._files.find(address, maxdepth=1)
        self._files.invalidate_cache()
        return [self._files.unstrip_protocol(name) for name in sorted(names)]

    def match(self, pattern: str) -> list[str]:
        """Addresses of the files that match, sorted."""
        if self._is_local:
            found = self._files.glob(absolute(pattern))
            return [path for path in sorted(found) if os.path.isfile(path)]
        found = self._files.glob(pattern)
        self._files.invalidate_cache()
        return [self._files.unstrip_protocol(name) for name in sorted(found)]


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Name a source that cannot be read or listed."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # of storage and readers, of all kinds
        raise InputError(
            f'{address} cannot be read: {one_line(error)}'
        ) from error
