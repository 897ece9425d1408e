"""Parts become one COCO file, the same as of one process, in little memory."""

import json
import random

import numpy as np
import pyarrow as pa
import pytest

from rfdetr_runtime import Detections
from rfdetr_runtime.detection_files import to_coco, to_record
from rfdetr_runtime.keypoints import KEYPOINTS
from rfdetr_runtime.scale import coco
from rfdetr_runtime.scale.pipeline import plain_detections
from rfdetr_runtime.scale.results import Writer, schema, write_index

CLASSES = ('cat', 'dog')
HW = (5, 9)


def detections(number, masks, points):
    rng = np.random.default_rng(number)
    n = number % 4
    data = dict(class_name=np.array(['cat', 'dog', 'cat'][:n], object))
    if points:
        data[KEYPOINTS] = rng.random((n, 2, 3), np.float32)
        data[KEYPOINTS][:, 1, 2] *= number % 2  # not of this class
    return Detections(
        xyxy=rng.random((n, 4), np.float32) * 9,
        confidence=rng.random(n, np.float32),
        class_id=np.array([0, 1, 0][:n]),
        mask=rng.random((n, *HW)) > 0.5 if masks else None,
        data=data,
        metadata=dict(source_image=np.zeros((*HW, 3), np.uint8)),
    )


@pytest.mark.parametrize('masks', [False, True])
@pytest.mark.parametrize('points', [False, True])
def test_as_of_one_process(tmp_path, masks, points):
    found = {n: detections(n, masks, points) for n in range(30)}
    broken = {4, 17}
    rows = [
        dict(number=n, image=f'{n}.png', error='broken')
        if n in broken
        else dict(
            number=n,
            image=f'{n}.png',
            height=HW[0],
            width=HW[1],
            detections=plain_detections(found[n]),
        )
        for n in found
    ]
    random.Random(0).shuffle(rows)
    writer = Writer(tmp_path, 30, 7)
    for row in rows:
        writer.add(pa.Table.from_pylist([row], schema()))
    writer.close()
    index = write_index(tmp_path, {})
    assert len(index['parts']) == 5
    path = tmp_path / 'coco.json'
    num = coco.write_coco(tmp_path, index, CLASSES, path)
    records = [
        to_record(f'{n}.png', found[n]) for n in found if n not in broken
    ]
    expected = to_coco(records, CLASSES)
    ids = dict(enumerate((n + 1 for n in found if n not in broken), start=1))
    for image in expected['images']:
        image['id'] = ids[image['id']]
    for annotation in expected['annotations']:
        annotation['image_id'] = ids[annotation['image_id']]
    assert json.loads(path.read_text()) == expected
    assert num == len(expected['annotations']) > 20


def test_few_parts_are_open_at_a_time(tmp_path, monkeypatch):
    """Those of a run follow each other; a later run fills its gaps."""
    writer = Writer(tmp_path, 100, 10)
    for numbers in (range(0, 40), range(60, 100), range(40, 60)):
        for start in range(0, len(numbers), 10):
            rows = [
                dict(number=n, image='a', height=1, width=1, detections=[])
                for n in numbers[start : start + 10]
            ]
            writer.add(pa.Table.from_pylist(rows, schema()))
    index = write_index(tmp_path, {})
    most, is_open = 0, 0
    rows_of = coco._rows

    def counted(*args):
        nonlocal most, is_open
        is_open += 1
        most = max(most, is_open)
        yield from rows_of(*args)
        is_open -= 1

    monkeypatch.setattr(coco, '_rows', counted)
    path = tmp_path / 'coco.json'
    assert coco.write_coco(tmp_path, index, CLASSES, path) == 0
    images = json.loads(path.read_text())['images']
    assert [image['id'] for image in images] == list(range(1, 101))
    assert most <= 2
