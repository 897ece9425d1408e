"""Read one member of a tar file by its address, from mmengine's file client.

An address has the place of the member's bytes in the tar file, so that a
process needs no index to read it:
``shard:///data/train-1a2b3c4d-000000.tar/512-34567-89abcdef/street.jpg``
are the 34567 bytes from byte 512 on, whose CRC-32 is 89abcdef.
"""

import os
import re
import zlib
from collections import OrderedDict
from urllib.parse import quote, unquote

from mmengine.fileio import BaseStorageBackend, register_backend

from rfdetr_runtime.image_file import ImageFileError

PREFIX = 'shard://'
_ADDRESS = re.compile(
    re.escape(PREFIX) + r'(?P<tar>.+?\.tar)/(?P<offset>\d+)-(?P<size>\d+)-'
    r'(?P<crc>[0-9a-f]{8}|unknown)/(?P<name>.+)'
)
_MAX_OPEN = 64  # tar files of a process, of the 1024 files that it may open


class ShardError(ImageFileError):
    """A shard is not what its index says; never skipped, as images may be."""


def address(
    tar: str, offset: int, size: int, crc: int | None, name: str
) -> str:
    """Write the address of a member.

    Args:
        tar: Absolute path of the tar file.
        offset: Where its bytes begin, from the beginning of the tar file.
        size: Number of its bytes.
        crc: CRC-32 of its bytes; None if it is not known.
        name: What to call it, a path relative to some folder.
    """
    checksum = 'unknown' if crc is None else f'{crc:08x}'
    return (
        f'{PREFIX}{quote(tar)}/{offset}-{size}-{checksum}/'
        f'{quote(name.lstrip("/"))}'
    )


def is_address(path: str) -> bool:
    """Whether a path is the address of a member of a tar file."""
    return path.startswith(PREFIX)


def read_member(
    tar: str, offset: int, size: int, crc: int | None, name: str
) -> bytes:
    """Read and check the bytes of a member.

    Args:
        tar: Path of the tar file.
        offset: Where its bytes begin.
        size: Number of its bytes.
        crc: CRC-32 of its bytes; None: not checked.
        name: What messages call it.

    Returns:
        The bytes.

    Raises:
        ShardError: If the tar file is not there, too short, or holds other
            bytes than its index says.
    """
    try:
        data = os.pread(_OPEN.descriptor(tar), size, offset)
    except OSError as error:
        raise ShardError(f'{tar} cannot be read: {error}') from error
    if len(data) != size or crc not in (None, zlib.crc32(data)):
        raise ShardError(
            f'{tar} was changed after it was packed: the {size} bytes of '
            f'{name} at {offset} are not those that its index says. Copy the '
            'file anew, or pack the data set again.'
        )
    return data


@register_backend('shard', prefixes='shard')
class ShardBackend(BaseStorageBackend):
    """Reads ``shard://`` addresses; other functions of mmengine use it, too.

    Tar files stay open, the last 64 of a process. A read is a single call of
    ``pread``, so that forked processes may share them.
    """

    def get(self, filepath: str) -> bytes:
        """Read the bytes of a member.

        Args:
            filepath: Its address.

        Raises:
            ShardError: If the address is malformed, or the tar file is
                not what its index says.
        """
        found = _ADDRESS.fullmatch(str(filepath))
        if found is None:
            raise ShardError(
                f'{filepath} cannot be the address of an image in a shard, '
                f'which is {PREFIX}FILE.tar/OFFSET-SIZE-CRC/NAME.'
            )
        crc = found['crc']
        return read_member(
            unquote(found['tar']),
            int(found['offset']),
            int(found['size']),
            None if crc == 'unknown' else int(crc, 16),
            unquote(found['name']),
        )

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """Read a member that is a text.

        Args:
            filepath: Its address.
            encoding: The encoding of the text.
        """
        return self.get(filepath).decode(encoding)


class _OpenFiles:
    """Descriptors of the files that were read last."""

    def __init__(self) -> None:
        self._descriptors: OrderedDict[str, int] = OrderedDict()

    def descriptor(self, path: str) -> int:
        if path in self._descriptors:
            self._descriptors.move_to_end(path)
        else:
            self._descriptors[path] = os.open(path, os.O_RDONLY)
            if len(self._descriptors) > _MAX_OPEN:
                os.close(self._descriptors.popitem(last=False)[1])
        return self._descriptors[path]


_OPEN = _OpenFiles()
