"""Decoding and detecting, as the workers do it, without Ray."""

import numpy as np
import pyarrow as pa
import pytest
from scale_sources import content, write_folder
from toy_onnx import CLASSES, write_toy

import rfdetr_runtime
from rfdetr_runtime import InputError
from rfdetr_runtime.coco_runs import encode_mask
from rfdetr_runtime.keypoints import KEYPOINTS
from rfdetr_runtime.scale import FileLoader
from rfdetr_runtime.scale.models import LateResizing
from rfdetr_runtime.scale.pipeline import Decode, Detect, describe_model
from rfdetr_runtime.scale.results import write_entries
from rfdetr_runtime.scale.sources import list_entries

pytest.importorskip('onnxruntime')
FILES = content(10)


@pytest.fixture
def photos(tmp_path):
    return write_folder(tmp_path / 'photos', FILES)


def table_of(folder, out):
    import pyarrow.parquet as pq

    write_entries(list_entries([str(folder)]), out)
    return pq.read_table(out)


def rows_of(loader, table, batch_size, **given):
    facts = describe_model(loader, False)
    options = dict(sha256=facts.sha256, gpu=False, threshold=0.3, classes=None)
    detect = Detect(loader, **{**options, **given})
    decoded = list(Decode(facts.prepare, batch_size)(table))
    # The way through Ray puts batches together, and cuts them out.
    return detect(pa.concat_tables(decoded)).to_pylist()


def expected(file, folder, batch_size, threshold=0.3):
    """Rows of predict() for each batch without what is not readable."""
    model = rfdetr_runtime.load(file, threads=1)
    paths = sorted(folder.glob('0*.png'))
    found = {}
    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        batch = [p for p in batch if FILES[p.name].startswith(b'\x89PNG')]
        found.update(zip(batch, model.predict(batch, threshold)))
    return [found.get(path) for path in paths]


def check_row(row, detections):
    """To the bit."""
    height, width = detections.metadata['source_image'].shape[:2]
    assert (row['height'], row['width']) == (height, width)
    assert row['error'] is None
    found = row['detections']
    assert [d['score'] for d in found] == detections.confidence.tolist()
    assert [d['bbox_xyxy_px'] for d in found] == detections.xyxy.tolist()
    assert [d['class_id'] for d in found] == detections.class_id.tolist()
    assert [d['class_name'] for d in found] == list(detections.class_names)
    for i, detection in enumerate(found):
        runs = points = None
        if detections.mask is not None:
            runs = encode_mask(detections.mask[i])['counts']
        if KEYPOINTS in detections.data:
            points = detections.data[KEYPOINTS][i]
            points = points[points[:, 2] > 0].ravel().tolist()
        assert detection['segmentation'] == runs
        assert detection['keypoints_xy_px_score'] == points


KINDS = {
    'boxes': {},
    'masks': dict(seg=True),
    'keypoints': dict(pose=True),
    'raw': dict(layout='raw'),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('batch_size', [1, 3, 4])
def test_as_predict_does(tmp_path, photos, kind, batch_size):
    file = write_toy(tmp_path / 'toy.onnx', batch='batch', **KINDS[kind])
    table = table_of(photos, tmp_path / 'e.parquet')
    rows = rows_of(FileLoader(str(file)), table, batch_size)
    assert [row['number'] for row in rows] == list(range(10))
    wanted = expected(file, photos, batch_size)
    for row, detections in zip(rows, wanted, strict=True):
        if detections is None:
            assert row['detections'] is row['height'] is None
            assert row['error'].startswith(row['image'])
        else:
            check_row(row, detections)
    assert sum(len(d) for d in wanted if d is not None) > 8


def test_batches_do_not_depend_on_where_a_task_begins(tmp_path, photos):
    """Image i is in the batch i // batch_size."""
    file = write_toy(tmp_path / 'toy.onnx', batch='batch')
    table = table_of(photos, tmp_path / 'e.parquet')
    prepare = describe_model(FileLoader(str(file)), False).prepare

    def numbers(part):
        return [
            [image['number'] for image in batch['images'][0].as_py()]
            for batch in Decode(prepare, 4)(part)
        ]

    assert numbers(table) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert numbers(table.slice(8)) == [[8, 9]]
    assert numbers(pa.concat_tables([table.slice(0, 4), table.slice(8)])) == [
        [0, 1, 2, 3],
        [8, 9],
    ]


def test_classes(tmp_path, photos):
    file = write_toy(tmp_path / 'toy.onnx', batch='batch')
    table = table_of(photos, tmp_path / 'e.parquet').slice(0, 4)
    rows = rows_of(FileLoader(str(file)), table, 4, classes=[1])
    names = {d['class_name'] for row in rows for d in row['detections']}
    assert names == {CLASSES[1]}


def test_an_image_whose_values_are_not_finite(tmp_path, photos, monkeypatch):
    """It gets an error; the others of its batch get their detections."""
    file = write_toy(tmp_path / 'toy.onnx', batch='batch')
    table = table_of(photos, tmp_path / 'e.parquet').slice(0, 4)
    run = rfdetr_runtime.ExportedModel.run

    def broken(self, images):
        outputs = run(self, images)
        is_bad = (images == bad).reshape(len(images), -1).all(axis=1)
        outputs['dets'][is_bad] = np.nan
        return outputs

    first = next(Decode(describe_model(FileLoader(str(file)), False).prepare,
                        4)(table))['images'][0].as_py()  # fmt: skip
    bad = np.frombuffer(first[2]['pixels'], np.float32).reshape(
        first[2]['shape']
    )
    monkeypatch.setattr(rfdetr_runtime.ExportedModel, 'run', broken)
    rows = rows_of(FileLoader(str(file)), table, 4)
    assert 'not finite' in rows[2]['error'] and not rows[2]['detections']
    for i in (0, 1, 3):
        assert rows[i]['error'] is None and rows[i]['detections']


def test_another_file_on_another_machine(tmp_path, photos):
    file = write_toy(tmp_path / 'toy.onnx', batch='batch')
    table = table_of(photos, tmp_path / 'e.parquet')
    with pytest.raises(InputError, match='toy.onnx must be the same file'):
        rows_of(FileLoader(str(file)), table, 4, sha256='0' * 64)


def double(picture, size_hw):
    return np.zeros((3, *size_hw), np.float32)


def test_only_large_pictures_are_resized_early(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'of_this_test', sys.modules[__name__])
    prepare = LateResizing((4, 8), 'of_this_test:double')
    small = np.ones((16, 8, 3), np.uint8)  # 384 bytes, as 4 * 4 * 8 * 3
    large = np.ones((17, 8, 3), np.uint8)
    assert prepare(small) is small
    assert prepare(large).shape == (3, 4, 8)
    assert LateResizing((4, 8), None)(large) is large
    # The module is looked for when a picture needs it.
    assert LateResizing((4, 8), 'gone:double')(small) is small
