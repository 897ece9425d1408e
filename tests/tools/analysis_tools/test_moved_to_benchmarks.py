"""Old paths of scripts warn and run what lies in benchmarks/."""

import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OLD = ROOT / 'tools' / 'analysis_tools'
MOVED = sorted(
    path.name
    for path in OLD.glob('*.py')
    if 'moved_to_benchmarks import' in path.read_text()
)


@pytest.fixture
def moved():
    path = OLD / 'moved_to_benchmarks.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_old_paths():
    assert 'benchmark.py' in MOVED and 'compare_upstream.py' in MOVED


@pytest.mark.parametrize('name', MOVED)
def test_the_new_script_runs_as_if_it_had_been_typed(
    moved, name, tmp_path, monkeypatch, capsys
):
    assert (moved.BENCHMARKS / name).is_file()
    (tmp_path / name).write_text(
        'import sys; import beside\nif __name__ == "__main__":\n'
        '    print(__file__, *sys.argv, sep="|")'
    )
    (tmp_path / 'beside.py').touch()
    monkeypatch.setattr(moved, 'BENCHMARKS', tmp_path)
    monkeypatch.setattr(sys, 'argv', [name, '--rows', 'a'])
    monkeypatch.setattr(sys, 'path', [str(OLD), *sys.path])
    monkeypatch.delitem(sys.modules, 'beside', raising=False)
    monkeypatch.setitem(sys.modules, 'moved_to_benchmarks', moved)
    runpy.run_path(str(OLD / name), run_name='__main__')
    said = capsys.readouterr()
    new = tmp_path / name
    assert said.out == f'{new}|{new}|--rows|a\n'
    assert name in said.err and f'use {new}' in said.err
    sys.modules.pop('beside')
