"""Predict images of any number on Ray, into a folder of Parquet files."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from rfdetr_mm_light.errors import InputError
from rfdetr_mm_light.files import check_writable, exclusive_file
from rfdetr_mm_light.scores import SCORE_THRESHOLD

from ..classes import class_ids
from .coco import write_coco
from .models import Loader, ModelFacts
from .pipeline import Decode, Detect, describe_model
from .results import (
    ENTRIES,
    Writer,
    check_run,
    write_entries,
    write_index,
    write_run,
)
from .session import call, import_ray, ray_session
from .sources import list_entries
from .stages import num_slots, run_stages, wants_gpu

if TYPE_CHECKING:
    import pyarrow as pa

COCO = 'coco.json'
_ROWS_PER_PART = 10_000
# Images of a decoding task: what is decoded again when its worker is killed.
_IMAGES_PER_TASK = 1024


@dataclass(frozen=True)
class Predicted:
    """What a run has written.

    Attributes:
        folder: The folder of results.
        num_images: How many images have a row.
        num_reused: How many of them had one before this run.
        num_errors: How many of them could not be read.
        num_detections: How many objects were found.
        class_names: The model's; number i is the label i.
    """

    folder: Path
    num_images: int
    num_reused: int
    num_errors: int
    num_detections: int
    class_names: tuple[str, ...]


def predict_on_ray(
    sources: str | Sequence[str],
    out_dir: str | os.PathLike[str],
    loader: Loader,
    *,
    threshold: float = SCORE_THRESHOLD,
    classes: Sequence[str] | None = None,
    batch_size: int | None = None,
    address: str | None = None,
    num_models: int | None = None,
    to_coco: bool = False,
    rows_per_part: int = _ROWS_PER_PART,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Predicted:
    """Detect objects in all images of sources, on one machine or many.

    Every image gets one row in a Parquet file of ``out_dir``, with its
    detections or with the reason why it could not be read; see
    :func:`~.results.schema`. The same call after any interruption goes on
    with the images that have no row.

    Image number i is in the batch i // batch_size, whose images the model
    gets at once, those that cannot be read left out: detections are those of
    ``predict()`` for the same images at once and as many threads.

    Args:
        sources: Images, folders, patterns, lists, Parquet and tar files; see
            :mod:`rfdetr_runtime.scale.sources`.
        out_dir: Folder for the results, on this machine.
        loader: The model, such as :class:`~.models.FileLoader`.
        threshold: Scores must be greater.
        classes: Only detections of these classes.
        batch_size: Images that the model gets at once; that of the file,
            else 1, by default.
        address: ``'auto'`` or ``HOST:PORT`` of a Ray cluster. By default Ray
            is started on this machine, unless the program is connected.
        num_models: How many models predict at a time; by default one for
            each GPU, or for each processor, of the cluster.
        to_coco: Whether to write ``coco.json``, too.
        rows_per_part: A Parquet file is closed when it has so many rows.
        progress: Called with the number of images that have a row, and of
            all images.

    Returns:
        What was written.

    Raises:
        InputError: If a source has no images, the model, the cluster or an
            option cannot be used, the folder has results of another run, or
            another process writes into it.
    """
    numbers = dict(
        batch_size=batch_size,
        num_models=num_models,
        rows_per_part=rows_per_part,
    )
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise InputError(f'{name} must be 1 at least, got {number}')
    import_ray()
    sources = [sources] if isinstance(sources, str) else list(sources)
    folder = Path(out_dir)
    with contextlib.ExitStack() as stack:
        _take(folder, stack)
        new = folder / f'.new-{ENTRIES}'
        stack.callback(new.unlink, missing_ok=True)
        num_images, digest = write_entries(list_entries(sources), new)
        ray = stack.enter_context(ray_session(address))
        gpu = wants_gpu(ray, loader.gpu)
        facts = call(ray, describe_model, loader, gpu, gpu=gpu)
        size = _batch_size(facts, batch_size)
        kept = class_ids(classes, facts.class_names)
        run = dict(
            model=facts.name,
            model_sha256=facts.sha256,
            class_names=list(facts.class_names),
            input_hw=list(facts.input_hw),
            **loader.settings,
            threshold=threshold,
            classes=classes and list(classes),
            batch_size=size,
            sources=sources,
            num_images=num_images,
            entries_sha256=digest,
        )
        if not check_run(folder, run):
            new.replace(folder / ENTRIES)
            write_run(folder, run)
        writer = Writer(
            folder,
            num_images,
            rows_per_part,
            lambda done: progress(done, num_images),
        )
        num_reused = int(writer.done.sum())
        progress(num_reused, num_images)
        if num_reused < num_images:
            detect = (loader, facts.sha256, gpu, threshold, kept)
            with contextlib.closing(writer):
                for table in _run(
                    ray, folder, writer.done, facts, size, detect, num_models
                ):
                    writer.add(table)
        index = write_index(folder, run)
        if to_coco:
            write_coco(folder, index, facts.class_names, folder / COCO)
    return Predicted(
        folder,
        num_images,
        num_reused,
        index['num_errors'],
        index['num_detections'],
        facts.class_names,
    )


def _take(folder: Path, stack: contextlib.ExitStack) -> None:
    """Hold the folder; it goes again if nothing was written into it."""
    is_new = not folder.exists()
    check_writable(folder)
    if is_new:

        def tidy_up() -> None:
            with contextlib.suppress(OSError):
                folder.rmdir()  # if it is empty

        stack.callback(tidy_up)
    stack.enter_context(
        exclusive_file(
            folder / '.lock',
            f'Another process writes results into {folder}. Wait until it '
            'has ended, or name another folder.',
        )
    )


def _batch_size(facts: ModelFacts, given: int | None) -> int:
    if facts.batch_size is None or given in (None, facts.batch_size):
        return given or facts.batch_size or 1
    raise InputError(
        f'{facts.name} takes {facts.batch_size} images at once, got '
        f'batch_size={given}: leave it out, or export the model with '
        'dynamic_batch'
    )


def _run(
    ray: ModuleType,
    folder: Path,
    done: np.ndarray,
    facts: ModelFacts,
    batch_size: int,
    detect: tuple,
    num_models: int | None,
) -> Iterator['pa.Table']:
    """Rows of the batches that are not done, in any order."""
    gpu = detect[2]
    num_left = int((~done).sum())
    slots = num_models or num_slots(ray, gpu)
    per_task = _images_per_task(num_left, batch_size, slots)
    yield from run_stages(
        ray,
        _tables(folder, done, batch_size, per_task),
        Decode(facts.prepare, batch_size).__call__,
        Detect,
        detect,
        gpu,
        min(slots, -(-num_left // batch_size)),
    )


def _images_per_task(num_images: int, batch_size: int, models: int) -> int:
    """A multiple of the batch size; less where there are few images."""
    wanted = min(_IMAGES_PER_TASK, -(-num_images // (4 * models)))
    return max(1, wanted // batch_size) * batch_size


def _tables(
    folder: Path, done: np.ndarray, batch_size: int, per_task: int
) -> Iterator['pa.Table']:
    """Entries of the batches that are not done, as a task gets them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    num_batches = -(-len(done) // batch_size)
    wanted = np.zeros(num_batches, bool)
    wanted[np.flatnonzero(~done) // batch_size] = True
    waiting: list[pa.Table] = []
    with pq.ParquetFile(folder / ENTRIES) as file:
        for batch in file.iter_batches():
            table = pa.table(batch)
            numbers = table['number'].to_numpy()
            waiting.append(table.filter(wanted[numbers // batch_size]))
            # Whole batches, apart from the last one of all.
            while sum(map(len, waiting)) >= per_task:
                table = pa.concat_tables(waiting)
                yield table.slice(0, per_task)
                waiting = [table.slice(per_task)]
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting)
