"""What runs in Ray's workers: decode and resize, detect."""

import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rfdetr_mm_light.errors import InputError

from ..coco_runs import encode_mask
from ..detections import Detections
from ..keypoints import KEYPOINTS
from .models import LoadedModel, Loader, ModelFacts
from .places import Entry, Prepare, Reader, one_line
from .results import schema

if TYPE_CHECKING:
    import pyarrow as pa


def describe_model(loader: Loader, gpu: bool) -> ModelFacts:
    """Load a model in a worker, and say what the others must know.

    Args:
        loader: The model.
        gpu: Whether the worker has a GPU.

    Raises:
        InputError: If it cannot be loaded.
    """
    return loader.load(gpu).facts


class Decode:
    """Decodes and prepares images; a row for each batch.

    Args:
        prepare: What the model needs done to a picture.
        batch_size: Images of a batch. Image number i is in the batch
            i // batch_size, whichever worker has it.
    """

    def __init__(self, prepare: Prepare, batch_size: int) -> None:
        self._prepare, self._batch_size = prepare, batch_size

    def __call__(self, table: 'pa.Table') -> Iterator['pa.Table']:
        """Decode the images of a table of entries.

        Args:
            table: Entries with their ``number``, ascending.

        Yields:
            A batch: one row, ``images``, a list; see :func:`_column`.
        """
        import pyarrow as pa

        reader = Reader()
        batch: list[dict[str, Any]] = []
        for number, *place in zip(
            *(column.to_pylist() for column in table.columns), strict=True
        ):
            if batch and (
                batch[0]['number'] // self._batch_size
                != number // self._batch_size
            ):
                yield pa.table([_column([batch])], names=['images'])
                batch = []
            batch.append(self._row(reader, number, Entry(*place)))
        if batch:
            yield pa.table([_column([batch])], names=['images'])

    def _row(
        self, reader: Reader, number: int, entry: Entry
    ) -> dict[str, Any]:
        row: dict[str, Any] = dict(number=number, image=entry.image)
        picture, row['error'] = reader.read(entry)
        if picture is not None:
            height, width = picture.shape[:2]
            row.update(height=height, width=width)
            prepared = self._prepare(picture)
            row.update(
                pixels=np.ascontiguousarray(prepared).tobytes(),
                shape=list(prepared.shape),
                dtype=str(prepared.dtype),
            )
        return row


def _column(batches: Sequence[list[dict[str, Any]]]) -> 'pa.Array':
    """Batches as one column, whose pixels are not copied when read."""
    import pyarrow as pa

    image = pa.struct(
        [
            ('number', pa.int64()),
            ('image', pa.string()),
            ('height', pa.int32()),
            ('width', pa.int32()),
            ('error', pa.string()),
            ('pixels', pa.large_binary()),
            ('shape', pa.list_(pa.int32())),
            ('dtype', pa.string()),
        ]
    )
    return pa.array(batches, pa.list_(image))


class Detect:
    """A model in an actor.

    Args:
        loader: The model.
        sha256: The hash of its file, which must be the same everywhere.
        gpu: Whether the actor has a GPU.
        threshold: Scores must be greater.
        classes: Only these labels; all of them if None.

    Raises:
        InputError: If the file has another hash on this machine.
    """

    def __init__(
        self,
        loader: Loader,
        sha256: str,
        gpu: bool,
        threshold: float,
        classes: Sequence[int] | None,
    ) -> None:
        self._model: LoadedModel = loader.load(gpu)
        facts = self._model.facts
        if facts.sha256 != sha256:
            raise InputError(
                f'{facts.name} must be the same file on all machines, but on '
                f'{socket.gethostname()} it has the hash {facts.sha256} '
                f'instead of {sha256}'
            )
        self._threshold, self._classes = threshold, classes

    def __call__(self, table: 'pa.Table') -> 'pa.Table':
        """Detect objects.

        Args:
            table: Batches, as :class:`Decode` gives them.

        Returns:
            A row for each image, of :func:`~.results.schema`.
        """
        import pyarrow as pa

        rows: list[dict[str, Any]] = []
        for batch in table['images']:
            rows += self._rows(batch.values)
        return pa.Table.from_pylist(rows, schema())

    def _rows(self, batch: 'pa.StructArray') -> list[dict[str, Any]]:
        names = ('number', 'image', 'height', 'width', 'error')
        columns = [batch.field(name).to_pylist() for name in names]
        rows = [dict(zip(names, row)) for row in zip(*columns, strict=True)]
        readable = [i for i, row in enumerate(rows) if row['error'] is None]
        images = [_pixels(batch, i) for i in readable]
        sizes = [(rows[i]['height'], rows[i]['width']) for i in readable]
        for i, found in zip(readable, self._detect(images, sizes)):
            if isinstance(found, str):
                rows[i].update(error=found)
            else:
                rows[i]['detections'] = plain_detections(found)
        return rows

    def _detect(
        self, images: list[np.ndarray], sizes: list[tuple[int, int]]
    ) -> list[Detections | str]:
        """Detections of each image, or what is wrong with it."""
        if not images:
            return []
        try:
            found = self._model.detect(images, sizes, self._threshold)
        except InputError as error:
            # Such as values that are not finite: which image is it?
            if len(images) == 1:
                return [one_line(error)]
            pairs = zip(images, sizes, strict=True)
            return [self._detect([x], [size])[0] for x, size in pairs]
        if self._classes is None:
            return list(found)
        return [x[np.isin(x.class_id, self._classes)] for x in found]


def _pixels(batch: 'pa.StructArray', row: int) -> np.ndarray:
    pixels = batch.field('pixels')[row].as_buffer()
    dtype = batch.field('dtype')[row].as_py()
    shape = batch.field('shape')[row].as_py()
    return np.frombuffer(pixels, dtype).reshape(shape)


def plain_detections(found: Detections) -> list[dict[str, Any]]:
    """Detections as rows of :func:`~.results.schema`, without rounding.

    Args:
        found: Detections of an image.
    """
    rows = []
    for i in range(len(found)):
        row = dict(
            class_id=int(found.class_id[i]),
            class_name=str(found.data['class_name'][i]),
            score=float(found.confidence[i]),
            bbox_xyxy_px=found.xyxy[i].tolist(),
        )
        if found.mask is not None:
            row['segmentation'] = encode_mask(found.mask[i])['counts']
        if KEYPOINTS in found.data:
            points = found.data[KEYPOINTS][i]
            row['keypoints_xy_px_score'] = (
                points[points[:, 2] > 0].ravel().tolist()
            )
        rows.append(row)
    return rows
