"""Local files that are either whole or not there."""

import os
import shutil
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

TEMPORARY_SUFFIX = '.incomplete'


@register_backend('atomic', force=True)
class AtomicBackend(LocalBackend):
    """LocalBackend whose files appear under their names when complete.

    Use: ``backend_args=dict(backend='atomic')``. A file is written beside
    its final place, under its name with ``.incomplete`` behind it, brought
    to the disk and renamed. A process that is killed in between leaves the
    old file as it was.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; an existing file is replaced in one moment.

        Args:
            obj: The content.
            filepath: The file to write; missing folders are made.

        Raises:
            OSError: If the content cannot be written, e.g. on a full disk.
                The old file is as it was, and no part of the new one stays.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
        try:
            with open(temporary, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:  # Ctrl+C as well
            temporary.unlink(missing_ok=True)
            raise

    def put_text(
        self, obj: str, filepath: str | Path, encoding: str = 'utf-8'
    ) -> None:
        """Write text as :meth:`put` writes bytes.

        Args:
            obj: The text.
            filepath: The file to write.
            encoding: How to encode it.
        """
        self.put(obj.encode(encoding), filepath)


def name_as_well(source: Path, target: Path) -> None:
    """Give a file a second name, which it takes over in one moment.

    A hard link, which takes no room, where the file system has them, and
    a copy elsewhere. A process that is killed in between leaves what the
    second name was before.

    Args:
        source: The file. It must not be written to afterwards, only replaced.
        target: Its second name, in the same folder.

    Raises:
        OSError: If the copy cannot be written, e.g. on a full disk.
    """
    temporary = target.with_name(target.name + TEMPORARY_SUFFIX)
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            with open(temporary, 'wb') as file, open(source, 'rb') as old:
                shutil.copyfileobj(old, file)
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        # POSIX leaves both names where they are links of one file already.
        temporary.unlink(missing_ok=True)
