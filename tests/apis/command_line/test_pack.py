"""``rfdetr-mm pack``: what it prints, and a training from what it wrote."""

import pytest

from rfdetr_mm_light.command_line.main import main
from tests.data_factory import write_layout


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_layout(tmp_path / 'set', 'roboflow')


def test_a_line_for_each_split(root, capsys):
    assert main(['pack', 'set', '--out', 'out', '--shard-mb', '0.01']) == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    for split, line in zip(('train', 'val', 'test'), lines):
        assert line.startswith(f'out/{split}-index.json: 3 images in ')


def test_shards_without_room_are_wrong_usage(root, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(['pack', 'set', '--out', 'out', '--shard-mb', '0'])
    assert stopped.value.code == 2
    assert '--shard-mb must be more than 0' in capsys.readouterr().err


def test_check_names_what_to_look_at(root, capsys):
    assert main(['pack', 'set', '--out', 'out']) == 0
    assert main(['check', 'out']) == 1
    error = capsys.readouterr().err
    assert 'in shards' in error and 'rfdetr-mm check' in error
