"""The command predicts by exported files, and imports no torch for it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_onnx import CLASSES, HW, write_toy

from rfdetr_mm_light.command_line.main import main

pytest.importorskip('onnxruntime')
ROOT = Path(__file__).parents[3]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A model and two pictures, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_toy('toy.onnx', seg=True)
    for name, value in (('a.png', 51), ('b.png', 0)):
        pixels = np.full((8, 18, 3), value, np.uint8)
        Path('photos').mkdir(exist_ok=True)
        Image.fromarray(pixels).save(Path('photos', name))
    return tmp_path


@pytest.fixture
def command(capsys):
    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize('named', ['first', 'option'])
def test_lines_and_files(files, command, named):
    model = ['toy.onnx'] if named == 'first' else ['--weights', 'toy.onnx']
    code, printed, _ = command(
        *('predict', 'photos', *model, '--threshold', 0.3, '--out-dir', 'out'),
        *('--save', 'json', 'coco'),
    )
    assert code == 0
    assert printed.splitlines() == [
        'photos/a.png (18 x 8): 1 dog, 1 cat',
        'photos/b.png (18 x 8): 1 dog',
        'json, coco in out',
    ]
    first, second = json.loads(Path('out/predictions.json').read_text())
    assert [d['class_name'] for d in first['detections']] == ['dog', 'cat']
    assert first['detections'][0]['score'] == pytest.approx(0.6)
    assert first['detections'][0]['bbox_xyxy_px'] == [0, 0, 9, 4]
    assert first['detections'][0]['segmentation']['size'] == [8, 18]
    coco = json.loads(Path('out/coco.json').read_text())
    assert [c['name'] for c in coco['categories']] == list(CLASSES)
    assert len(coco['annotations']) == 3


def test_classes_and_nothing(files, command):
    arguments = ('predict', 'toy.onnx', 'photos/a.png', '--json')
    code, printed, _ = command(
        *arguments, '--threshold', 0, '--classes', 'cat'
    )
    (found,) = json.loads(printed)['detections']
    assert code == 0 and found['class_id'] == 0
    code, printed, _ = command(*arguments, '--threshold', 0.99)
    assert code == 0 and json.loads(printed)['detections'] == []


@pytest.mark.parametrize(
    'arguments, code, message',
    [
        (['toy.onnx'], 2, 'name an image as well'),
        (
            ['toy.onnx', 'photos', '--precision', 'bf16'],
            1,
            "precision='bf16' is for the .xml files of OpenVINO",
        ),
        (
            ['photos', '--model', 'nano', '--precision', 'bf16'],
            2,
            "--precision is for OpenVINO's files",
        ),
        (['toy.onnx', 'toy.onnx', 'photos'], 2, 'must be one model'),
        (['toy.onnx', 'photos', '--weights', 'x.pth'], 2, 'x.pth'),
        (['toy.onnx', 'photos', '--model', 'nano'], 2, 'leave --model out'),
        (['gone.onnx', 'photos'], 1, 'no exported file gone.onnx'),
        (['toy.onnx', 'photos', '--batch-size', '2'], 1, 'batches of 1 to 1'),
        (['toy.onnx', 'photos', '--resolution', '64'], 1, f'images of {HW}'),
        (['toy.onnx', 'photos', '--device', 'tpu'], 1, "no device 'tpu'"),
        (['toy.onnx', 'photos', '--classes', 'cta'], 1, "mean 'cat'"),
        (['text.onnx', 'photos'], 1, 'cannot be read as an ONNX file'),
    ],
)
def test_errors(files, command, arguments, code, message):
    Path('text.onnx').write_text('text')
    found, printed, errors = command(*['predict', *arguments])
    assert (found, printed) == (code, '') and message in errors
    if code == 1:
        assert errors.startswith('rfdetr-mm predict: error: ')
        assert errors.count('\n') == 1


@pytest.mark.parametrize('name', ['export', 'train'])
def test_other_subcommands_need_a_checkpoint(files, command, name):
    rest = dict(export=[], train=['photos'])[name]
    code, _, errors = command(name, *rest, '--weights', 'toy.onnx')
    assert code == 1 and f'{name} needs a checkpoint' in errors


def test_no_torch_is_imported(files):
    code = (
        'import sys\n'
        'from rfdetr_mm_light.command_line.main import main\n'
        'status = main(sys.argv[1:])\n'
        'names = {n.partition(".")[0] for n in sys.modules}\n'
        'print(sorted(names & {"torch", "mmengine", "rfdetr_mm", "cv2"}))\n'
        'sys.exit(status)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, 'predict', 'toy.onnx', 'photos'],
        capture_output=True,
        text=True,
        env={'PYTHONPATH': str(ROOT), 'PATH': ''},
    )
    assert not done.returncode, done.stderr
    assert done.stdout.splitlines()[-1] == '[]'
