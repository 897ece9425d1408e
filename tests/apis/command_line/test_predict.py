import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from rfdetr_mm.apis import from_checkpoint
from tests.apis.command_line.conftest import SIZES
from tests.data_factory import CLASSES


def test_lines_and_files(command, images, checkpoint, tmp_path):
    out = tmp_path / 'out'
    code, printed, _ = command(
        *('predict', images, '--weights', checkpoint, '--device', 'cpu'),
        *('--threshold', 0.01, '--batch-size', 2, '--out-dir', out),
        *('--save', 'images', 'json', 'coco'),
    )
    assert code == 0
    lines = printed.splitlines()
    assert len(lines) == 4 and lines[-1] == f'images, json, coco in {out}'
    assert f'{images}/1.png (90 x 60): ' in lines[0]

    model = from_checkpoint(checkpoint, device='cpu')
    records = json.loads((out / 'predictions.json').read_text())
    for number, record in enumerate(records):
        found = model.predict(record['file'], threshold=0.01)
        assert (record['height'], record['width']) == SIZES[number]
        assert len(record['detections']) == len(found) > 0
        for row, written in enumerate(record['detections']):
            assert written['class_name'] == CLASSES[written['class_id']]
            np.testing.assert_allclose(
                written['bbox_xyxy_px'], found.xyxy[row], atol=0.01
            )
            assert abs(written['score'] - found.confidence[row]) < 1e-4
        painted = np.asarray(Image.open(out / f'images/{number + 1}.png'))
        before = np.asarray(Image.open(record['file']))
        assert painted.shape == before.shape and (painted != before).any()

    coco = COCO(out / 'coco.json')
    assert [coco.cats[i]['name'] for i in (1, 2)] == list(CLASSES)
    assert [coco.imgs[i]['width'] for i in (1, 2, 3)] == [90, 60, 50]
    first = coco.imgToAnns[1][0]
    x1, y1, x2, y2 = records[0]['detections'][0]['bbox_xyxy_px']
    np.testing.assert_allclose(first['bbox'], [x1, y1, x2 - x1, y2 - y1])
    assert first['score'] == records[0]['detections'][0]['score']


def test_json_lines_of_chosen_classes(command, images, checkpoint):
    arguments = (
        *('predict', images / '1.png', images / '3.png', '--json'),
        *('--weights', checkpoint, '--device', 'cpu', '--threshold', 0.01),
    )
    code, printed, _ = command(*arguments)
    both = [json.loads(line) for line in printed.splitlines()]
    _, printed, _ = command(*arguments, '--classes', 'square')
    squares = [json.loads(line) for line in printed.splitlines()]
    assert code == 0 and len(both) == len(squares) == 2
    for all_of_them, chosen in zip(both, squares):
        assert chosen['detections'] == [
            found
            for found in all_of_them['detections']
            if found['class_name'] == 'square'
        ]


def test_nothing_is_found(command, images, checkpoint, tmp_path):
    code, printed, _ = command(
        *('predict', images / '1.png', '--weights', checkpoint),
        *('--device', 'cpu', '--threshold', 0.9999, '--out-dir', tmp_path),
    )
    assert code == 0 and printed.startswith(f'{images}/1.png (90 x 60): nothi')
    (record,) = json.loads((tmp_path / 'predictions.json').read_text())
    assert record['detections'] == [] and record['height'] == 60
    assert (tmp_path / 'images' / '1.png').is_file()


@pytest.mark.parametrize(
    'arguments, code, message',
    [
        (['gone.jpg', '--weights', 'W'], 1, 'no image or folder gone.jpg'),
        (['', '--weights', 'W'], 2, 'an empty text is given to predict'),
        (['EMPTY', '--weights', 'W'], 1, 'has no images'),
        (['I', '--weights', 'gone.pth'], 1, 'no checkpoint file'),
        (['I', '--model', 'nanoo'], 1, 'Did you mean nano?'),
        (['I', '--weights', 'TEXT'], 1, 'notes.txt'),
        (['I', '--model', 'xlarge'], 1, '--accept-platform-model-license'),
        (['I', '--weights', 'W', '--classes', 'squar'], 1, "mean 'square'"),
        (['TEXT', '--weights', 'W', '--device', 'cpu'], 1, 'notes.txt'),
        (['I', '--weights', 'W', '--resolution', '65'], 1, 'multiple of'),
        (['I'], 2, 'choose a model'),
        ([], 2, 'required: inputs'),
        (['I', '--weights', 'W', '--save', 'coco'], 2, 'needs --out-dir'),
        (['I', '--weights', 'W', '--batch-size', '0'], 2, '1 at least'),
        (['I', '--weights', 'W', '--threshold', '50'], 2, 'from 0 to 1'),
        (['I', '--weights', 'W', '--save', 'xml'], 2, 'invalid choice'),
    ],
)
def test_errors(
    command, images, checkpoint, tmp_path, monkeypatch,
    arguments, code, message,
):  # fmt: skip
    monkeypatch.setenv('RF_HOME', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'notes.txt').write_text('no checkpoint, no picture')
    places = dict(
        I=images / '1.png',
        W=checkpoint,
        EMPTY=tmp_path / 'empty',
        TEXT=tmp_path / 'notes.txt',
    )
    arguments = [places.get(name, name) for name in arguments]
    found, printed, errors = command('predict', *arguments)
    assert found == code and printed == ''
    assert message in errors
    if code == 1:
        assert errors.startswith('rfdetr-mm predict: error: ')
        assert errors.count('\n') == 1


def test_a_folder_that_cannot_be_written_to_comes_before_a_download(
    command, images, no_network, tmp_path
):
    (tmp_path / 'file').touch()
    line = ('predict', images, '--model', 'nano', '--device', 'cpu')
    code, printed, errors = command(*line, '--out-dir', tmp_path / 'file')
    assert code == 1 and printed == '' and 'downloaded' not in errors
    assert 'nothing can be written to the folder for results' in errors
    code, _, errors = command(*line, '--out-dir', tmp_path / 'out')
    assert code == 1 and 'could not be downloaded' in errors


def test_pictures_appear_whole(
    command, images, checkpoint, tmp_path, monkeypatch
):
    """Ctrl+C while a picture is written."""

    def stop(self, file, *args, **kwargs):
        file.write(b'a part')
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, 'save', stop)
    code, _, errors = command(
        *('predict', images, '--weights', checkpoint, '--device', 'cpu'),
        *('--out-dir', tmp_path / 'out'),
    )
    assert code == 130 and 'stopped' in errors
    assert not list((tmp_path / 'out/images').iterdir())
