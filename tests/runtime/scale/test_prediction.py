"""Runs on Ray: rows, killed workers and programs, and what is refused."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray_processes import descendants, workers
from scale_sources import (
    content,
    write_folder,
    write_parquet,
    write_tar,
)
from slow_model import SlowLoader
from toy_onnx import write_toy

import rfdetr_runtime
from rfdetr_mm_light.command_line.main import main
from rfdetr_runtime import InputError
from rfdetr_runtime.scale import FileLoader, predict_on_ray
from rfdetr_runtime.scale.results import find_parts

pytest.importorskip('onnxruntime')
pytest.importorskip('ray')
TESTS = Path(__file__).parents[2]
COUNT = 60
FILES = content(COUNT)


@pytest.fixture
def photos(tmp_path):
    return write_folder(tmp_path / 'photos', FILES)


@pytest.fixture
def model(tmp_path):
    return str(write_toy(tmp_path / 'toy.onnx', batch='batch', seg=True))


def rows_of(folder):
    """All rows, by their numbers; each must be there once."""
    found = [
        row
        for part in find_parts(Path(folder))
        for row in pq.read_table(part, partitioning=None).to_pylist()
    ]
    found.sort(key=lambda row: row['number'])
    assert [row['number'] for row in found] == list(range(len(found)))
    return found


def expected(model, names, batch_size):
    """Scores and boxes of predict() by batches, and None for what is broken.

    Args:
        names: Name in FILES and path of each image.
    """
    loaded = rfdetr_runtime.load(model, threads=1)
    found = [None] * len(names)
    for start in range(0, len(names), batch_size):
        batch = [
            i
            for i in range(start, min(start + batch_size, len(names)))
            if FILES[names[i][0]].startswith(b'\x89PNG')
        ]
        paths = [names[i][1] for i in batch]
        for i, x in zip(batch, loaded.predict(paths, 0.3), strict=True):
            found[i] = x.confidence.tolist(), x.xyxy.tolist()
    return found


def results(rows):
    return [
        None
        if row['error']
        else (
            [d['score'] for d in row['detections']],
            [d['bbox_xyxy_px'] for d in row['detections']],
        )
        for row in rows
    ]


def test_all_sources_at_once(tmp_path, photos, model, ray_here):
    """Every input has its row, in the order of the sources, to the bit."""
    few = dict(list(FILES.items())[:9])
    (tmp_path / 'list.txt').write_text(
        '\n'.join(f'photos/{name}' for name in few)
    )
    sources = [
        str(photos),
        str(write_tar(tmp_path / 'a.tar', few)),
        str(write_parquet(tmp_path / 'b.parquet', dict(x=[*few.values()]))),
        str(tmp_path / '*.txt'),
    ]
    seen = []
    done = predict_on_ray(
        sources,
        tmp_path / 'out',
        FileLoader(model),
        threshold=0.3,
        batch_size=4,
        to_coco=True,
        progress=lambda *counts: seen.append(counts),
    )
    rows = rows_of(tmp_path / 'out')
    names = [(n, photos / n) for part in (FILES, few, few, few) for n in part]
    assert results(rows) == expected(model, names, 4)
    assert sum(row['error'] is not None for row in rows) == 8
    num = sum(len(row['detections'] or ()) for row in rows)
    assert (done.num_images, done.num_errors) == (COUNT + 27, 8)
    assert done.num_detections == num > COUNT
    assert seen[0] == (0, COUNT + 27) and seen[-1] == (COUNT + 27,) * 2
    coco = json.loads((tmp_path / 'out/coco.json').read_text())
    assert len(coco['images']) == COUNT + 27 - 8
    assert len(coco['annotations']) == num
    entries = pq.read_table(tmp_path / 'out/entries.parquet').to_pylist()
    assert [e['image'] for e in entries] == [r['image'] for r in rows]
    assert not {p.name for p in (tmp_path / 'out').iterdir()} - {
        *('run.json', 'index.json', 'entries.parquet', 'coco.json'),
        *(part.name for part in find_parts(tmp_path / 'out')),
    }


def test_the_command_and_its_second_call(
    tmp_path, photos, model, ray_here, capsys
):
    out = tmp_path / 'out'
    command = ['predict', str(photos), model, '--engine', 'ray', '--out', out]
    command = [str(word) for word in (*command, '--threshold', 0.3)]
    assert main(command) == 0
    printed, shown = capsys.readouterr()
    assert f'{out}: {COUNT} rows;' in printed
    assert '2 images have an error instead' in printed
    assert f'{COUNT}/{COUNT} images' in shown
    before = {p.name: p.stat().st_mtime_ns for p in find_parts(out)}
    # The second one has nothing to do.
    assert main([*command, '--to-coco']) == 0
    assert f'{COUNT} rows, {COUNT} of an earlier' in capsys.readouterr().out
    after = {p.name: p.stat().st_mtime_ns for p in find_parts(out)}
    assert before == after and (out / 'coco.json').is_file()
    rows = rows_of(out)
    # Others are refused, and nothing is touched.
    (tmp_path / 'other.png').write_bytes(FILES['001.png'])
    other = write_toy(tmp_path / 'other.onnx', batch='batch')
    for change, message in (
        (dict(threshold='0.4'), 'threshold = 0.3; this one has threshold'),
        (dict(model=str(other)), 'model = "toy.onnx", model_sha256 = '),
        (dict(source=str(tmp_path / 'other.png')), 'num_images = 60'),
    ):
        words = list(command)
        words[1] = change.get('source', words[1])
        words[2] = change.get('model', words[2])
        words[-1] = change.get('threshold', words[-1])
        assert main(words) == 1
        (line,) = [
            line
            for line in capsys.readouterr().err.splitlines()
            if 'error' in line
        ]
        assert 'has results of another run, with' in line and message in line
    assert rows_of(out) == rows
    entries = pq.read_table(out / 'entries.parquet')
    assert entries.num_rows == COUNT


class Killer(threading.Thread):
    """Kills workers, each some time after it was seen at work.

    Args:
        names: What is in the titles of the victims, one after the other.
        draw: Says how long they live, and which it is.
    """

    def __init__(self, names, draw):
        super().__init__(daemon=True)
        self._waiting, self._draw = list(names), draw
        self.killed = []

    def run(self):
        while self._waiting:
            time.sleep(0.02)
            if not workers(self._waiting[0]):
                continue
            time.sleep(self._draw.uniform(0, 1))
            if found := workers(self._waiting[0]):
                os.kill(self._draw.choice(found), signal.SIGKILL)
                self.killed.append(self._waiting.pop(0))


@pytest.mark.parametrize('seed', [0, 1])
def test_killed_workers(tmp_path, photos, model, ray_here, seed):
    """Models and decoders die; their images are predicted all the same."""
    names = ['Decode', '(MapBatches(Detect))', 'Decode']
    killer = Killer(names, random.Random(seed))
    killer.start()
    done = predict_on_ray(
        str(photos),
        tmp_path / 'out',
        SlowLoader(model, seconds=0.2),
        threshold=0.3,
        batch_size=2,
        rows_per_part=10,
    )
    assert killer.killed == names
    files = [(name, photos / name) for name in FILES]
    assert results(rows_of(tmp_path / 'out')) == expected(model, files, 2)
    assert (done.num_images, done.num_errors) == (COUNT, 2)


# Each starts a Ray of its own, which takes seconds.
@pytest.mark.parametrize('moment', [6, 30])
def test_a_killed_program(tmp_path, photos, model, ray_here, moment):
    """What it has written is kept, the rest is the rest."""
    out = tmp_path / 'out'
    command = [sys.executable, str(TESTS / 'scale_driver.py')]
    program = subprocess.Popen(
        [*command, str(photos), str(out), model],
        env={**os.environ, 'PYTHONPATH': f'{TESTS.parent}:{TESTS}'},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    for line in program.stdout:
        if int(line) >= moment:
            break
    of_ray = descendants(program.pid)
    program.kill()
    program.wait()
    program.stdout.close()
    kept = len(rows_in(out))
    assert kept >= moment - 6 and not (out / 'index.json').exists()
    assert (out / '.lock').exists()
    before = {p.name: p.read_bytes() for p in find_parts(out)}
    done = predict_on_ray(
        str(photos),
        out,
        SlowLoader(model, seconds=0),
        threshold=0.3,
        batch_size=2,
        rows_per_part=6,
    )
    assert done.num_reused == kept
    names = [(name, photos / name) for name in FILES]
    assert results(rows_of(out)) == expected(model, names, 2)
    for name, data in before.items():
        assert (out / name).read_bytes() == data
    assert not list(out.glob('.*'))
    deadline = time.monotonic() + 60
    while any(Path(f'/proc/{pid}').exists() for pid in of_ray):
        assert time.monotonic() < deadline, 'Ray outlives its program'
        time.sleep(0.5)


def rows_in(folder):
    return [
        row
        for part in find_parts(folder)
        for row in pq.read_table(part, partitioning=None).to_pylist()
    ]


def test_two_programs_and_one_folder(tmp_path, photos, model, ray_here):
    from rfdetr_mm_light.files import exclusive_file

    out = tmp_path / 'out'
    out.mkdir()
    with exclusive_file(out / '.lock', ''):
        with pytest.raises(InputError, match='Another process writes'):
            predict_on_ray(str(photos), out, FileLoader(model))


def test_nothing_is_left_of_what_was_refused(
    tmp_path, photos, model, ray_here
):
    out = tmp_path / 'out'
    for given, message in (
        (dict(sources='gone'), 'there is no image, folder or list gone'),
        (dict(loader=FileLoader('gone.onnx')), 'gone.onnx'),
        (dict(classes=['cta']), "no class 'cta'. Did you mean 'cat'"),
        (dict(batch_size=0), 'must be 1 at least, got 0'),
        (dict(loader=FileLoader(model, 'cuda')), 'has none: take --device'),
    ):
        given = dict(
            dict(sources=str(photos), out_dir=out, loader=FileLoader(model)),
            **given,
        )
        with pytest.raises(InputError, match=message) as caught:
            predict_on_ray(**given)
        assert '\n' not in str(caught.value)
        assert not out.exists()


def test_the_batch_size_of_a_file(tmp_path, photos, ray_here):
    file = str(write_toy(tmp_path / 'two.onnx', batch=2))
    with pytest.raises(InputError, match='two.onnx takes 2 images at once'):
        predict_on_ray(
            str(photos), tmp_path / 'out', FileLoader(file), batch_size=3
        )
    predict_on_ray(
        str(photos), tmp_path / 'out', FileLoader(file), threshold=0.3
    )
    names = [(name, photos / name) for name in FILES]
    assert results(rows_of(tmp_path / 'out')) == expected(file, names, 2)
