"""What stands in for the extension where rfdetr_mm is not imported."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rfdetr_mm.operators import extension, setup

SCRIPT = Path(setup.__file__)


@pytest.fixture
def mmcv_folder(tmp_path, monkeypatch):
    """A package named mmcv without operators."""
    folder = tmp_path / 'packages' / 'mmcv'
    folder.mkdir(parents=True)
    (folder / '__init__.py').write_text('')
    monkeypatch.setattr(setup, '_mmcv_folder', lambda: folder)
    return folder


def script(*options, path):
    """Run as a file, with nothing of the clone on the path."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(path)},
    )


def test_script_writes_and_removes(mmcv_folder):
    path = mmcv_folder / '_ext.py'
    packages = mmcv_folder.parent
    for line in ('was written', 'is there already'):
        done = script(path=packages)
        assert (done.returncode, done.stderr) == (0, '')
        assert done.stdout == f'{path} {line}\n'
    assert path.read_text() == setup.stand_in_source()
    assert sorted(p.name for p in mmcv_folder.glob('*.*')) == [
        '__init__.py',
        '_ext.py',
    ]
    # What Python compiled goes with it.
    compiled = mmcv_folder / '__pycache__' / '_ext.cpython-311.pyc'
    compiled.parent.mkdir(exist_ok=True)
    compiled.write_text('')
    for line in ('was removed', 'nothing was removed'):
        done = script('--remove', path=packages)
        assert done.returncode == 0 and done.stdout.endswith(f'{line}\n')
    assert not path.exists() and not compiled.exists()


def test_it_needs_no_package_but_torch_and_torchvision(mmcv_folder):
    """rfdetr_mm cannot be imported there, and mmcv is an empty package."""
    setup.write_stand_in()
    code = """
import sys
import mmcv._ext as ext
import torch
kept = ext.nms(torch.tensor([[0, 0, 9, 9.0], [0, 0, 9, 8]]),
               torch.tensor([0.1, 0.2]), iou_threshold=0.5, offset=0)
assert kept.tolist() == [1]
try:
    ext.nms_rotated(1)
except NotImplementedError as error:
    assert 'nms_rotated' in str(error) and chr(10) not in str(error)
else:
    raise AssertionError
assert 'rfdetr_mm' not in sys.modules
print(*sorted(n for n in vars(ext) if n in sys.argv[1:]))
"""
    done = subprocess.run(
        [sys.executable, '-c', code, *extension.__all__],
        capture_output=True,
        text=True,
        cwd=mmcv_folder.parent,
        env={**os.environ, 'PYTHONPATH': str(mmcv_folder.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == extension.__all__


def test_all_modules_are_in_the_file():
    """And no two of them define one name."""
    names = {path.stem for path in SCRIPT.parent.glob('*.py')}
    assert names - set(setup.PARTS) == {'__init__', 'finder', 'setup'}
    defined = [
        node.name
        for node in ast.parse(setup.stand_in_source()).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    ]
    assert len(defined) == len(set(defined))


def test_an_older_one_is_renewed(mmcv_folder):
    path = mmcv_folder / '_ext.py'
    path.write_text(f'{setup.MARKER}\nold = 1\n')
    assert setup.write_stand_in() == f'{path} was written'
    assert path.read_text() == setup.stand_in_source()


@pytest.mark.parametrize(
    'content', ['', 'nms = None\n', f'\n{setup.MARKER}\n']
)
@pytest.mark.parametrize('option', [[], ['--remove']])
def test_another_file_is_left_alone(mmcv_folder, content, option, capsys):
    path = mmcv_folder / '_ext.py'
    path.write_text(content)
    assert setup.main(option) == 1
    printed = capsys.readouterr()
    assert printed.out == '' and printed.err.count('\n') == 1
    assert f'{path} was not written by' in printed.err
    assert path.read_text() == content


@pytest.mark.parametrize(
    'name',
    ['_ext.so', '_ext.cpython-39-x86_64-linux-gnu.so', '_ext.pyd', '_ext'],
)
def test_compiled_operators_are_left_alone(mmcv_folder, name, capsys):
    """Also those of another Python, and a package of that name."""
    path = mmcv_folder / name
    path.mkdir()
    assert setup.main([]) == 1
    errors = capsys.readouterr().err
    assert str(path) in errors and errors.count('\n') == 1
    assert not (mmcv_folder / '_ext.py').exists()
    assert setup.main(['--remove']) == 0
    assert path.exists()


@pytest.mark.parametrize('option', [[], ['--remove']])
def test_a_folder_that_may_not_be_written_to(
    mmcv_folder, option, monkeypatch, capsys
):
    path = mmcv_folder / '_ext.py'
    if option:
        setup.write_stand_in()

    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    # Root may write everywhere, so that the mode bits do not do it.
    monkeypatch.setattr(Path, 'unlink' if option else 'write_text', refuse)
    assert setup.main(option) == 1
    errors = capsys.readouterr().err
    assert errors.count('\n') == 1
    assert f'{path} (Permission denied)' in errors
    assert 'import rfdetr_mm need no such file' in errors
    assert path.exists() == bool(option)


def test_without_mmcv(monkeypatch, capsys):
    monkeypatch.setattr(setup.importlib.util, 'find_spec', lambda name: None)
    assert setup.main([]) == 1
    errors = capsys.readouterr().err
    assert 'mmcv is not installed for' in errors and errors.count('\n') == 1


def test_the_script_imports_the_standard_library_only():
    known = sys.stdlib_module_names
    for node in ast.walk(ast.parse(SCRIPT.read_text())):
        if isinstance(node, ast.Import):
            assert all(a.name.split('.')[0] in known for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module.split('.')[0] in known
