"""The folder of results: what is in it, and how a run goes on in it.

* ``run.json``, written first: what the results depend on;
* ``entries.parquet``: the images, numbered from 0;
* ``part-000000.parquet`` and so on: a row for each image, see :func:`schema`;
* ``index.json``, written last: the parts and how many rows they have.

A part appears when it is whole. A run that was stopped is taken up by looking
which numbers the parts have; a number that comes again is not written twice.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfdetr_mm_light.errors import InputError
from rfdetr_mm_light.files import atomic_file

from .places import Entry

if TYPE_CHECKING:
    import pyarrow as pa

RUN, INDEX, ENTRIES = 'run.json', 'index.json', 'entries.parquet'
VERSION = 1
_PART = re.compile(r'part-(\d{6,})\.parquet')
_ENTRIES_AT_ONCE = 4096
_ROWS_OF_GROUP = 512
_PART_SECONDS = 60
_PART_BYTES = 64 << 20


def schema() -> 'pa.Schema':
    """The columns of a part.

    Returns:
        ``number`` (of the image, from 0) and ``image``; ``height`` and
        ``width`` in pixels, ``detections``, best first, and ``error``. A row
        has either detections, maybe none of them, or an error. Of a
        detection: ``class_id`` (0-based), ``class_name``, ``score``,
        ``bbox_xyxy_px``, and null where the model has none: ``segmentation``,
        the ``counts`` of COCO's run-length encoding, whose ``size`` is
        (height, width), and ``keypoints_xy_px_score``, three numbers for
        each keypoint of the class.
    """
    import pyarrow as pa

    detection = pa.struct(
        [
            ('class_id', pa.int32()),
            ('class_name', pa.string()),
            ('score', pa.float32()),
            ('bbox_xyxy_px', pa.list_(pa.float32(), 4)),
            ('segmentation', pa.string()),
            ('keypoints_xy_px_score', pa.list_(pa.float32())),
        ]
    )
    return pa.schema(
        [
            ('number', pa.int64()),
            ('image', pa.string()),
            ('height', pa.int32()),
            ('width', pa.int32()),
            ('detections', pa.list_(detection)),
            ('error', pa.string()),
        ]
    )


def write_entries(entries: Iterator[Entry], path: Path) -> tuple[int, str]:
    """Write the table of images.

    Args:
        entries: The images.
        path: The file.

    Returns:
        Their number, and a hash of the table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = pa.schema(
        [
            ('number', pa.int64()),
            ('image', pa.string()),
            ('file', pa.string()),
            ('kind', pa.string()),
            ('offset', pa.int64()),
            ('size', pa.int64()),
        ]
    )
    digest = hashlib.sha256()
    number = 0
    with atomic_file(path) as file, pq.ParquetWriter(file, columns) as writer:
        while rows := [e for _, e in zip(range(_ENTRIES_AT_ONCE), entries)]:
            digest.update(json.dumps(rows).encode())
            numbers = range(number, number + len(rows))
            arrays = [numbers, *zip(*rows, strict=True)]
            writer.write_batch(
                pa.record_batch(
                    [
                        pa.array(values, column.type)
                        for values, column in zip(arrays, columns)
                    ],
                    schema=columns,
                )
            )
            number += len(rows)
    return number, digest.hexdigest()


def check_run(folder: Path, run: dict[str, Any]) -> bool:
    """Refuse a folder that has results of another run.

    Args:
        folder: The folder of results.
        run: What the results depend on: name to value.

    Returns:
        Whether there are results of this run already.

    Raises:
        InputError: If the results there are of another run, or it is not
            known of which.
    """
    file = folder / RUN
    if not file.is_file():
        if parts := find_parts(folder):
            raise InputError(
                f'{folder} has {parts[0].name}, but no {RUN} that says what '
                'it is of. Name another folder.'
            )
        return False
    try:
        there = json.loads(file.read_bytes())
    except ValueError as error:
        raise InputError(
            f'{file} was not written by this command: {error}. Name another '
            'folder.'
        ) from error
    if not isinstance(there, dict) or there.get('version') != VERSION:
        raise InputError(
            f'{file} is of another version of this command, which reads '
            f'version {VERSION}. Name another folder.'
        )
    other = {k: there.get(k) for k in run if there.get(k) != run[k]}
    # The same images may be named in another way.
    if other.keys() - {'sources'}:
        was = ', '.join(f'{k} = {shown(v)}' for k, v in other.items())
        now = ', '.join(f'{k} = {shown(run[k])}' for k in other)
        raise InputError(
            f'{folder} has results of another run, with {was}; this one has '
            f'{now}. Name another folder, or repeat the run as it was.'
        )
    return True


def write_run(folder: Path, run: dict[str, Any]) -> None:
    """Note what the results of a folder depend on.

    Args:
        folder: The folder of results.
        run: Name to value.
    """
    with atomic_file(folder / RUN) as file:
        content = dict(version=VERSION, **run)
        file.write(json.dumps(content, indent=1).encode())


def shown(value: Any) -> str:
    """A value in a message; long ones are cut off."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f'{text[:59]}…'


def find_parts(folder: Path) -> list[Path]:
    """The parts of a folder, in the order of their names."""
    found = [p for p in folder.iterdir() if _PART.fullmatch(p.name)]
    return sorted(found, key=lambda path: int(_PART.fullmatch(path.name)[1]))


def numbers_of(part: Path) -> np.ndarray:
    """The numbers of the images in a part.

    Args:
        part: The file.

    Returns:
        int64, ascending.

    Raises:
        InputError: If it cannot be read.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(part, columns=['number'], partitioning=None)
        return table['number'].to_numpy()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f'{part} cannot be read: {error} Delete it, and its images are '
            'predicted again.'
        ) from error


class Writer:
    """Writes rows into parts, each row once.

    Args:
        folder: The folder of results.
        num_images: How many there will be.
        rows_per_part: A part is closed when it has so many rows; also after
            a minute, or with 64 MiB.
        progress: Called with the number of images that have a row.

    Attributes:
        done: Whether an image has a row, shape (num_images,).

    Raises:
        InputError: If a part cannot be read, or has numbers beyond the last
            image or that another part has.
    """

    def __init__(
        self,
        folder: Path,
        num_images: int,
        rows_per_part: int,
        progress: Callable[[int], None] = lambda done: None,
    ) -> None:
        self._folder, self._rows_per_part = folder, rows_per_part
        self._progress = progress
        self.done = np.zeros(num_images, bool)
        parts = find_parts(folder)
        self._next = 0
        for part in parts:
            numbers = numbers_of(part)
            self._next = int(_PART.fullmatch(part.name)[1]) + 1
            if len(numbers) and (
                numbers[-1] >= num_images or self.done[numbers].any()
            ):
                raise InputError(
                    f'{part} has images that another part has, or beyond the '
                    f'{num_images} of this run. Delete it, and its images '
                    'are predicted again.'
                )
            self.done[numbers] = True
        self._count = int(self.done.sum())
        self._start_part()

    def _start_part(self) -> None:
        self._tables: list[pa.Table] = []
        self._bytes = self._rows = 0
        self._since = time.monotonic()

    def add(self, table: 'pa.Table') -> None:
        """Take rows; those of images that have one are left out.

        Args:
            table: Rows of :func:`schema`.
        """
        numbers = table['number'].to_numpy()
        is_new = ~self.done[numbers]
        if not is_new.all():
            table = table.filter(is_new)
        if table.num_rows:
            self.done[numbers] = True
            self._tables.append(table)
            self._bytes += table.nbytes
            self._rows += table.num_rows
            self._count += table.num_rows
            self._progress(self._count)
        if (
            self._rows >= self._rows_per_part
            or self._bytes >= _PART_BYTES
            or time.monotonic() - self._since >= _PART_SECONDS
        ):
            self.close()

    def close(self) -> None:
        """Write the rows that were taken, if there are any."""
        if not self._tables:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.concat_tables(self._tables).sort_by('number')
        path = self._folder / f'part-{self._next:06d}.parquet'
        with atomic_file(path) as file:
            pq.write_table(table, file, row_group_size=_ROWS_OF_GROUP)
        self._next += 1
        self._start_part()


def write_index(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    """Write the index, when every image has a row.

    Args:
        folder: The folder of results.
        run: What they depend on.

    Returns:
        What was written: ``version``, ``run``, ``num_images``,
        ``num_errors``, ``num_detections`` and ``parts``, each with its
        ``file``, its number of ``rows`` and its ``first`` and ``last``
        number.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    parts = []
    errors = detections = 0
    for part in find_parts(folder):
        with pq.ParquetFile(part) as file:
            first, last, rows = None, None, 0
            columns = ['number', 'detections', 'error']
            for batch in file.iter_batches(_ROWS_OF_GROUP, columns=columns):
                first = batch['number'][0].as_py() if first is None else first
                last = batch['number'][-1].as_py()
                rows += batch.num_rows
                errors += batch.num_rows - batch['error'].null_count
                lengths = pc.list_value_length(batch['detections'])
                detections += pc.sum(lengths).as_py() or 0
        parts.append(dict(file=part.name, rows=rows, first=first, last=last))
    index = dict(
        version=VERSION,
        run=run,
        num_images=sum(part['rows'] for part in parts),
        num_errors=errors,
        num_detections=detections,
        parts=parts,
    )
    with atomic_file(folder / INDEX) as file:
        file.write(json.dumps(index, indent=1).encode())
    return index
