"""Results in Parquet files as one COCO file, of any number of images."""

import heapq
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rfdetr_mm_light.files import atomic_file

from ..detection_files import category_ids, coco_annotations, coco_image

_ROWS_AT_ONCE = 64


def write_coco(
    folder: Path, index: dict[str, Any], class_names: Sequence[str], path: Path
) -> int:
    """Write the detections of a folder of results as a COCO data set.

    The file is that of :func:`rfdetr_runtime.detection_files.to_coco`, with
    the numbers of the images, from 1, for their ids. Images without a size,
    because they could not be read, are left out. The file is written while
    the parts are read, twice.

    Args:
        folder: The folder of results.
        index: What its index holds.
        class_names: The model's.
        path: The file to write.

    Returns:
        The number of annotations.
    """
    ids = category_ids(class_names)
    categories = [dict(id=i, name=n) for i, n in zip(ids, class_names)]
    parts = sorted(index['parts'], key=lambda part: part['first'])
    num = 0
    with atomic_file(path) as file:
        file.write(b'{"images": [')
        before = b'\n'
        for row in _records(folder, parts, ['number', 'image', *_SIZE]):
            entry = coco_image(row, row['number'] + 1)
            file.write(before + json.dumps(entry).encode())
            before = b',\n'
        text = json.dumps(categories)
        file.write(f'],\n"categories": {text},\n"annotations": ['.encode())
        before = b'\n'
        for row in _records(folder, parts, None):
            for entry in coco_annotations(row, row['number'] + 1, num, ids):
                file.write(before + json.dumps(entry).encode())
                before = b',\n'
                num += 1
        file.write(b']}\n')
    return num


_SIZE = ('height', 'width')


def _records(
    folder: Path, parts: Sequence[dict[str, Any]], columns: list[str] | None
) -> Iterator[dict[str, Any]]:
    """Records of the images that could be read, ascending by number.

    A part is open only while its numbers come, and parts of a run overlap
    little, so that few of them are open at a time.
    """
    waiting = list(parts)
    running: list[tuple[int, int, dict[str, Any], Iterator]] = []

    def push(key: int, rows: Iterator[dict[str, Any]]) -> None:
        row = next(rows, None)
        if row is not None:
            heapq.heappush(running, (row['number'], key, row, rows))

    while waiting or running:
        while waiting and (
            not running or waiting[0]['first'] <= running[0][0]
        ):
            part = waiting.pop(0)
            push(len(waiting), _rows(folder / part['file'], columns))
        if running:
            _, key, row, rows = heapq.heappop(running)
            if row['height'] is not None:
                yield record_of(row)
            push(key, rows)


def _rows(path: Path, columns: list[str] | None) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
            yield from batch.to_pylist()


def record_of(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a part as a record of ``detection_files``, with its number.

    Args:
        row: The row; only what it has is in the record.

    Returns:
        What :func:`rfdetr_runtime.detection_files.to_record` gives for the
        detections of an image, with the same digits.
    """
    size = [row['height'], row['width']]
    detections = []
    for found in row.get('detections') or ():
        detection = dict(
            class_id=found['class_id'],
            class_name=found['class_name'],
            score=round(found['score'], 6),
            bbox_xyxy_px=[round(v, 3) for v in found['bbox_xyxy_px']],
        )
        if found['segmentation'] is not None:
            detection['segmentation'] = dict(
                size=size, counts=found['segmentation']
            )
        points = found['keypoints_xy_px_score']
        if points is not None:
            detection['keypoints_xy_px_score'] = [
                [round(x, 3), round(y, 3), round(s, 6)]
                for x, y, s in zip(*[iter(points)] * 3, strict=True)
            ]
        detections.append(detection)
    return dict(
        number=row['number'],
        file=row['image'],
        height=size[0],
        width=size[1],
        detections=detections,
    )
