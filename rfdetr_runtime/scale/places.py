"""Where the bytes of an image are: a file, a tar file, a Parquet file.

An address without ``://`` is a local path, ``http(s)://`` is fetched as
``predict()`` does, everything else is read by fsspec, whose packages for the
kinds of storage (``s3fs`` for ``s3://``) are installed apart.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import UnidentifiedImageError

from rfdetr_mm_light.errors import InputError

from ..image_file import BrokenImageError, read_rgb
from ..pictures import as_rgb

FILE, TAR, PARQUET = 'file', 'tar', 'parquet'
_WEB = ('http://', 'https://')


class Entry(NamedTuple):
    """One image of a source.

    Attributes:
        image: What results call it: the absolute path or the address of its
            file; ``FILE::MEMBER`` in a tar file, ``FILE::ROW`` in a Parquet
            file.
        file: The absolute path or the address of the file to read.
        kind: 'file', 'tar' or 'parquet'.
        offset: In a tar file the first byte of the image, in a Parquet file
            its row within the row group.
        size: In a tar file the number of its bytes, in a Parquet file the
            number of the row group.
    """

    image: str
    file: str
    kind: str = FILE
    offset: int = 0
    size: int = 0


def is_local(address: str) -> bool:
    """Whether an address is a path of this machine."""
    return '://' not in address


def is_web(address: str) -> bool:
    """Whether an address is fetched over HTTP."""
    return address.startswith(_WEB)


def file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Args:
        address: A path, or an address that fsspec knows.

    Returns:
        fsspec's file system, and the path as it has it.

    Raises:
        InputError: If fsspec, or its package for this kind of storage, is
            not installed, or there is no such kind.
    """
    try:
        import fsspec

        return fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InputError(f'{address} cannot be read: {error}') from error


def open_file(address: str) -> Any:
    """Open a file for reading bytes, wherever it is.

    Args:
        address: A path, or an address that fsspec knows.

    Returns:
        A file object that can seek.
    """
    if is_local(address):
        return open(address, 'rb')
    files, path = file_system(address)
    return files.open(path, 'rb')


def bytes_column(schema: Any) -> str | None:
    """The column of a Parquet file that holds images.

    Args:
        schema: Its Arrow schema.

    Returns:
        Its name, with ``.bytes`` behind it for a column of structures that
        have this field, as the data sets of Hugging Face do. None if no
        column holds bytes, or several do and none is called ``bytes`` or
        ``image``.
    """
    import pyarrow as pa

    def is_bytes(kind: Any) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    names = []
    for column in schema:
        kind = column.type
        if is_bytes(kind):
            names.append(column.name)
        elif pa.types.is_struct(kind) and any(
            part.name == 'bytes' and is_bytes(part.type) for part in kind
        ):
            names.append(f'{column.name}.bytes')
    return chosen(names, ('bytes', 'image', 'image.bytes'))


def chosen(names: list[str], preferred: tuple[str, ...]) -> str | None:
    """One of several names.

    Args:
        names: The names that there are.
        preferred: The first of these that is there is taken.

    Returns:
        The name; the only one where none is preferred, else None.
    """
    for name in preferred:
        if name in names:
            return name
    return names[0] if len(names) == 1 else None


@dataclass
class Reader:
    """Reads and decodes images; one for each task.

    Attributes:
        row_group: The row group that was read last, which the next image is
            often in as well.
    """

    row_group: tuple[Any, list[bytes]] = field(default=(None, []))

    def read(self, entry: Entry) -> tuple[np.ndarray | None, str | None]:
        """Decode an image.

        Args:
            entry: Where it is.

        Returns:
            RGB, uint8, shape (h, w, 3), and None; or None and the reason why
            it cannot be read, one line. Whatever is wrong with an image or
            its file is such a reason; only a lack of memory is raised.

        Raises:
            MemoryError: If there is not enough memory.
        """
        try:
            return self._decode(entry), None
        except MemoryError:
            raise
        except Exception as error:  # of storage and decoders, of all kinds
            return None, one_line(error)

    def _decode(self, entry: Entry) -> np.ndarray:
        if entry.kind == FILE and (is_local(entry.file) or is_web(entry.file)):
            return as_rgb(entry.file)
        data = self._bytes(entry)
        if not data:
            raise BrokenImageError(entry.image, 'it is empty')
        try:
            return read_rgb(io.BytesIO(data), entry.image)
        except BrokenImageError as error:
            if isinstance(error.reason, UnidentifiedImageError):
                # Pillow's own words name an object in memory.
                error = BrokenImageError(entry.image, 'it is not an image')
            raise error from None

    def _bytes(self, entry: Entry) -> bytes:
        if entry.kind == PARQUET:
            return self._of_row_group(entry)
        if entry.kind == FILE:
            files, path = file_system(entry.file)
            return files.cat_file(path)
        end = entry.offset + entry.size
        if is_local(entry.file):
            with open(entry.file, 'rb') as file:
                file.seek(entry.offset)
                data = file.read(entry.size)
        else:
            files, path = file_system(entry.file)
            data = files.cat_file(path, start=entry.offset, end=end)
        if len(data) < entry.size:
            raise BrokenImageError(
                entry.image, f'{entry.file} ends before byte {end}'
            )
        return data

    def _of_row_group(self, entry: Entry) -> bytes:
        key = entry.file, entry.size
        if self.row_group[0] != key:
            import pyarrow.parquet as pq

            with open_file(entry.file) as source:
                file = pq.ParquetFile(source)
                name = bytes_column(file.schema_arrow)
                column, *field_of = name.split('.')
                table = file.read_row_group(entry.size, columns=[name])
            values = table.column(column).combine_chunks()
            if field_of:
                values = values.field('bytes')
            self.row_group = key, values
        return self.row_group[1][entry.offset].as_py() or b''


_OBJECT = re.compile(r' at 0x[0-9a-f]+')


def one_line(error: BaseException) -> str:
    """What is wrong, the same text for the same fault.

    Args:
        error: What was raised.
    """
    line = ' '.join(str(error).split()) or type(error).__name__
    return _OBJECT.sub('', line)


Prepare = Callable[[np.ndarray], np.ndarray]


def absolute(path: str) -> str:
    """A path as every process finds it; an address stays as it is."""
    return str(Path(path).expanduser().absolute()) if is_local(path) else path
