import json

import pytest

from rfdetr_mm_light.command_line import main
from tests.data_factory import edit_json, write_layout


@pytest.fixture
def root(tmp_path):
    return write_layout(tmp_path / 'set', 'flat')


def run(*arguments):
    """The exit code."""
    try:
        return main(['check', *map(str, arguments)])
    except SystemExit as stopped:
        return stopped.code


def test_a_good_data_set(root, tmp_path, capsys):
    assert run(root, '--strict', '--out-dir', tmp_path / 'out') == 0
    printed = capsys.readouterr()
    assert 'layout flat' in printed.out and printed.err == ''
    assert printed.out.splitlines()[-1] == 'nothing odd was found'
    report = json.loads((tmp_path / 'out' / 'report.json').read_text())
    assert report['ok'] and report['splits']['val']['boxes'] == 6
    assert not (tmp_path / 'out' / 'suspects.jpg').exists()


def test_warnings_and_errors(root, tmp_path, capsys):
    def remove_area(content):
        content['annotations'][0]['bbox'][2] = 0

    edit_json(root / 'train.json', remove_area)
    assert run(root) == 0
    assert capsys.readouterr().out.splitlines()[-1] == '1 warning'
    assert run(root, '--strict', '--out-dir', tmp_path / 'out', '--json') == 1
    report = json.loads(capsys.readouterr().out)
    assert [f['kind'] for f in report['findings']] == ['left out']
    assert (tmp_path / 'out' / 'suspects.jpg').stat().st_size > 1000
    (root / 'images' / 'val 1.png').unlink()
    assert run(root) == 1
    assert '1 error, 1 warning' in capsys.readouterr().out


def test_a_single_file(root, capsys):
    assert run(root / 'val.json', '--images', root / 'images') == 0
    assert run(root / 'val.json', '--images', root) == 1
    assert 'were not found' in capsys.readouterr().err


def test_no_data_set_is_one_line(tmp_path, capsys):
    assert run(tmp_path / 'nowhere') == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
