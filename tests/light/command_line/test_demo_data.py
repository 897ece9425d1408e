import json

import pytest

from rfdetr_mm_light.command_line import main


def test_a_clip(tmp_path, capfd):
    folder = tmp_path / 'new' / 'clip'
    assert main(['demo-data', 'clip', str(folder)]) == 0
    content = json.loads((folder / 'clip.json').read_text())
    assert len(content['videos']) == 1 and content['annotations']
    assert f'frames are in {folder}' in capfd.readouterr().out


def test_every_kind_has_a_generator():
    from rfdetr_mm_light.command_line.demo_data import KINDS
    from rfdetr_mm_light.shipped_files import find_shipped

    for script, *_ in KINDS.values():
        assert find_shipped(f'demo/{script}').is_file()


def test_samples_are_no_training_pictures(tmp_path):
    """Those that the documentation predicts on: validation images only."""
    assert main(['demo-data', 'samples', str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.glob('*.json')] == ['val.json']
    content = json.loads((tmp_path / 'val.json').read_text())
    names = sorted(path.name for path in (tmp_path / 'images').iterdir())
    assert names == [image['file_name'] for image in content['images']]
    assert len(names) == 16


def test_a_generator_that_fails(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit) as stopped:
        main(['demo-data', 'clip', str(tmp_path / 'file')])
    assert stopped.value.code == 1


def test_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(['demo-data', 'cats', 'x'])
    assert stopped.value.code == 2
