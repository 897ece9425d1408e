"""A folder of results: once each row, whole parts, no mixing of runs."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rfdetr_runtime import InputError
from rfdetr_runtime.scale import results
from rfdetr_runtime.scale.places import Entry
from rfdetr_runtime.scale.results import (
    Writer,
    check_run,
    find_parts,
    numbers_of,
    schema,
    write_entries,
    write_index,
    write_run,
)


def rows(*numbers):
    detection = dict(
        class_id=1,
        class_name='dog',
        score=0.1,
        bbox_xyxy_px=[0, 1, 2, 0.3],
        segmentation=None,
        keypoints_xy_px_score=None,
    )
    return pa.Table.from_pylist(
        [
            dict(number=n, image=f'{n}.png', error='broken')
            if n % 10 == 7
            else dict(
                number=n,
                image=f'{n}.png',
                height=4,
                width=6,
                detections=[detection] * (n % 3),
            )
            for n in numbers
        ],
        schema(),
    )


def all_rows(folder):
    return [row for p in find_parts(folder) for row in pq.read_table(
        p, partitioning=None
    ).to_pylist()]  # fmt: skip


def test_every_row_is_written_once(tmp_path):
    seen = []
    writer = Writer(tmp_path, 30, 8, seen.append)
    for numbers in ([3, 1, 2], [2, 3, 4, 9], [9], range(20, 30), [4, 0]):
        writer.add(rows(*numbers))
    writer.close()
    assert [p.name for p in find_parts(tmp_path)] == [
        'part-000000.parquet',
        'part-000001.parquet',
    ]
    assert numbers_of(find_parts(tmp_path)[0]).tolist() == [
        *(1, 2, 3, 4, 9),
        *range(20, 30),
    ]
    assert seen == [3, 5, 15, 16]
    again = Writer(tmp_path, 30, 8)
    assert np.array_equal(again.done, writer.done) and again.done.sum() == 16
    again.add(rows(*range(30)))
    again.close()
    found = all_rows(tmp_path)
    assert len(found) == 30
    assert sorted(found, key=lambda r: r['number']) == (
        rows(*range(30)).to_pylist()
    )
    assert not Writer(tmp_path, 30, 8).close() and len(
        find_parts(tmp_path)
    ) == 3  # fmt: skip


def test_a_part_is_closed_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(results, '_PART_SECONDS', 0)
    writer = Writer(tmp_path, 9, 1000)
    writer.add(rows(1))
    writer.add(rows(2))
    assert len(find_parts(tmp_path)) == 2


def test_a_part_that_cannot_be_written_is_not_there(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, 'No space left')

    writer = Writer(tmp_path, 9, 1)
    monkeypatch.setattr(pq, 'write_table', fail)
    with pytest.raises(OSError, match='No space'):
        writer.add(rows(1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('kind', ['cut off', 'beyond', 'twice'])
def test_parts_that_do_not_fit(tmp_path, kind):
    writer = Writer(tmp_path, 9, 1)
    writer.add(rows(5))
    (part,) = find_parts(tmp_path)
    if kind == 'cut off':
        part.write_bytes(part.read_bytes()[:100])
    elif kind == 'twice':
        (tmp_path / 'part-000001.parquet').write_bytes(part.read_bytes())
    with pytest.raises(InputError, match='Delete it') as caught:
        Writer(tmp_path, 5 if kind == 'beyond' else 9, 1)
    assert '\n' not in str(caught.value)


def test_the_index(tmp_path):
    writer = Writer(tmp_path, 20, 8)
    for numbers in (range(4, 20), range(4)):
        writer.add(rows(*numbers))
    writer.close()
    index = write_index(tmp_path, dict(threshold=0.5))
    assert index == json.loads((tmp_path / 'index.json').read_text())
    assert index['parts'] == [
        dict(file='part-000000.parquet', rows=16, first=4, last=19),
        dict(file='part-000001.parquet', rows=4, first=0, last=3),
    ]
    assert index['num_images'] == 20 and index['num_errors'] == 2
    assert index['num_detections'] == sum(
        n % 3 for n in range(20) if n % 10 != 7
    )


RUN = dict(model='a.onnx', threshold=0.5, classes=None, sources=['photos'])


def test_the_same_run_goes_on(tmp_path):
    assert not check_run(tmp_path, RUN)
    write_run(tmp_path, RUN)
    assert check_run(tmp_path, RUN)
    # The images are compared by their own hash.
    assert check_run(tmp_path, dict(RUN, sources=['./photos/']))


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (
            dict(threshold=0.3),
            'of another run, with threshold = 0.5; this one has '
            'threshold = 0.3. Name another folder',
        ),
        (
            dict(model='b.onnx', classes=['cat']),
            'with model = "a.onnx", classes = null; this one has '
            r'model = "b.onnx", classes = \["cat"\]',
        ),
    ],
)
def test_results_of_another_run(tmp_path, other, message):
    write_run(tmp_path, RUN)
    with pytest.raises(InputError, match=message):
        check_run(tmp_path, {**RUN, **other})


@pytest.mark.parametrize('text', ['{', '[]', '{"version": 2}', ''])
def test_a_run_file_of_others(tmp_path, text):
    (tmp_path / 'run.json').write_text(text)
    with pytest.raises(InputError, match='run.json .*Name another folder'):
        check_run(tmp_path, RUN)


def test_parts_of_an_unknown_run(tmp_path):
    (tmp_path / 'part-000003.parquet').write_bytes(b'')
    with pytest.raises(InputError, match='part-000003.parquet, but no run'):
        check_run(tmp_path, RUN)


def test_entries_and_their_hash(tmp_path, monkeypatch):
    monkeypatch.setattr(results, '_ENTRIES_AT_ONCE', 4)
    entries = [Entry(f'{i}.png', f'/a/{i}.png') for i in range(10)]
    count, digest = write_entries(iter(entries), tmp_path / 'e.parquet')
    assert count == 10
    table = pq.read_table(tmp_path / 'e.parquet')
    assert table['number'].to_pylist() == list(range(10))
    assert [Entry(*list(row.values())[1:]) for row in table.to_pylist()] == (
        entries
    )
    same = write_entries(iter(entries), tmp_path / 'f.parquet')
    other = write_entries(iter(entries[::-1]), tmp_path / 'g.parquet')
    assert same == (10, digest) and other[1] != digest
