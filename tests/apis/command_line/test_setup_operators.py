"""rfdetr-mm setup-operators."""

import pytest

from rfdetr_mm.operators import setup


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where the file goes, in place of the installed mmcv's folder."""
    monkeypatch.setattr(setup, '_mmcv_folder', lambda: tmp_path)
    return tmp_path / '_ext.py'


def test_writes_and_removes(command, path):
    assert command('setup-operators') == (0, f'{path} was written\n', '')
    assert path.read_text() == setup.stand_in_source()
    code, printed, _ = command('setup-operators', '--remove')
    assert (code, printed) == (0, f'{path} was removed\n')
    assert not path.exists()


@pytest.mark.parametrize('option', [(), ('--remove',)])
def test_refusal_is_one_line(command, path, option):
    path.write_text('mine = 1\n')
    code, printed, errors = command('setup-operators', *option)
    assert code == 1 and printed == ''
    assert errors.startswith('rfdetr-mm setup-operators: error: ')
    assert errors.count('\n') == 1 and str(path) in errors
    assert path.read_text() == 'mine = 1\n'
