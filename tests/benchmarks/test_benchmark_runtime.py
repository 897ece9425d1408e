"""The report says what is missed, images are drawn; nothing is timed."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfdetr_runtime.detections import Detections


@pytest.fixture
def benchmark():
    return importlib.import_module('benchmark_runtime')


@pytest.fixture
def data(tmp_path):
    """Two classes, H != W, one image without objects."""
    (tmp_path / 'images').mkdir()
    for split, count in (('train', 5), ('val', 2), ('test', 1)):
        images, boxes = [], []
        for i in range(count):
            name = f'{split}{i}.png'
            pixels = np.full((20 + i, 30, 3), i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'images' / name)
            images.append(
                dict(id=7 + i, file_name=name, height=20 + i, width=30)
            )
            if i:
                continue
            boxes.append(
                dict(
                    id=1,
                    image_id=7,
                    category_id=4,
                    bbox=[3, 4, 10, 8],
                    area=80,
                    iscrowd=0,
                )
            )
        kinds = [dict(id=2, name='cat'), dict(id=4, name='dog')]
        content = dict(images=images, annotations=boxes, categories=kinds)
        (tmp_path / f'{split}.json').write_text(json.dumps(content))
    return tmp_path


def test_rows_that_miss_their_aim_are_bold(benchmark):
    titles = list(benchmark.AIMS)
    met = benchmark.row([0.1, 0.12, 0.14], [0.2, 0.2, 0.2], 'ms', 1e3)
    missed = benchmark.row([0.2, 0.2], [0.25, 0.24], 'MiB', 1 / 1024)
    assert benchmark.line(titles[0], met) == [
        f'{titles[0]}, ms',
        '120',
        '200',
        '0.600 (0.500 to 0.700)',
        '0.75',
    ]
    assert benchmark.line(titles[0], missed)[3].startswith('**0.817** (0.8')
    # Without an aim, bold where rfdetr is ahead.
    slower = benchmark.row([3], [2], 'ms', 1)
    assert benchmark.line('another', slower)[3:] == [
        '**1.500** (1.500 to 1.500)',
        '',
    ]
    assert benchmark.line('another', met)[3] == '0.600 (0.500 to 0.700)'


def test_the_report_has_all_parts(benchmark):
    content = dict(
        command='a b',
        machine=dict(
            cpu='C', cores=2, threads=2, load_before=0, python='3', packages={}
        ),
        rows={'another': benchmark.row([1], [2], 's', 1)},
        sizes=dict(onnx=201, openvino=330),
        ap=dict(val=dict(fp32=42.31, lost=[0.1, 0.25])),
    )
    text = benchmark.report(content)
    assert '| another, s | 1 | 2 | 0.500 (0.500 to 0.500) |  |' in text
    assert '| `rfdetr_mm[onnx]` | **201** | 200 |' in text
    assert '| `rfdetr_mm[openvino]` | 330 | 330 |' in text
    assert 'val: AP 42.31 in fp32; lost by int8, draw by draw: 0.10, 0.25' in (
        text
    )


def test_parts_of_a_folder(benchmark):
    assert benchmark.chunks([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5, 1]]


def test_draws_and_photographs(benchmark, data, tmp_path):
    draws = [benchmark.draw(data, seed, 3) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len({*draws[0]}) == 3
    assert {path.stem[:5] for path in draws[0]} == {'train'}
    assert len(benchmark.draw(data, 0, 99)) == 5
    paths = benchmark.photographs(data, tmp_path / 'many', 11)
    assert len(paths) == len({*paths}) == 11  # under other names
    assert len({path.resolve() for path in paths}) == 8
    assert [Path(path).name for path in paths[:2]] == [
        '00000.png',
        '00001.png',
    ]


class Finding:
    """Finds the box of each image with an object, a bit off."""

    def __init__(self, shift):
        self.shift = shift

    def predict_each(self, paths, threshold):
        assert threshold == 0
        for path in paths:
            x, y = 3 + self.shift, 4
            found = str(path.stem).endswith('0')
            box = np.array([[x, y, x + 10, y + 8]], np.float32)[:found]
            pixels = np.zeros((20, 30, 3), np.uint8)
            yield Detections(
                box,
                np.full(len(box), 0.5, np.float32),
                np.ones(len(box), np.int64),
                data=dict(class_name=np.array(['dog'] * len(box), object)),
                metadata=dict(source_image=pixels),
            )


@pytest.mark.parametrize(
    'shift, points', [(0, 100), (1.0, 70), (9, 0)]
)  # IoU of 9/11: seven of the ten thresholds
def test_ap_of_both_splits_and_together(
    benchmark, data, monkeypatch, shift, points
):
    module = importlib.import_module('runtime_files')
    monkeypatch.setattr(module, 'load', lambda *args, **kw: Finding(shift))
    found = module.ap_points(Path('a.xml'), data)
    assert found == pytest.approx(
        dict.fromkeys(('val', 'test', 'val and test'), points)
    )
