"""tools/dev/environment.sh: what is missing is said in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / 'tools' / 'dev' / 'environment.sh'
FAKE_PYTHON = """#!/bin/sh
case "$*" in
  *version_info*) echo {version} ;;
  *) exit {status} ;;
esac
"""


def run(tmp_path, **variables):
    environment = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith('RFDETR_MM') and k != 'STACK'
    }
    environment['RFDETR_MM_CACHE'] = str(tmp_path / 'cache')
    environment.update(variables)
    return subprocess.run(
        ['bash', str(SCRIPT)], env=environment, capture_output=True,
        text=True, cwd=tmp_path,
    )  # fmt: skip


def executable(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def python_3_11(tmp_path):
    text = FAKE_PYTHON.format(version='3.11', status=0)
    return str(executable(tmp_path / 'python', text))


def assert_one_line(done, *words):
    assert done.returncode == 1
    assert done.stdout == ''
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith('error: ')
    for word in words:
        assert word in line


def test_no_python(tmp_path):
    done = run(tmp_path, PYTHON='/nowhere/python3.11')
    assert_one_line(done, '/nowhere/python3.11 was not found', 'PYTHON=')


def test_another_python(tmp_path):
    text = FAKE_PYTHON.format(version='3.9', status=0)
    python = executable(tmp_path / 'python', text)
    done = run(tmp_path, PYTHON=str(python))
    assert_one_line(done, 'needs Python 3.11', 'is 3.9', 'PYTHON=')


def test_no_compiler(tmp_path):
    done = run(tmp_path, PYTHON=python_3_11(tmp_path), CXX='/nowhere/g++')
    assert_one_line(done, '/nowhere/g++ was not found', 'MMCV_FIND_LINKS')


def test_no_space(tmp_path):
    df = 'echo; echo "/dev/x 100 50 3000000 50% /"'
    executable(tmp_path / 'bin' / 'df', f'#!/bin/sh\n{df}\n')
    path = f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}'
    done = run(
        tmp_path, PYTHON=python_3_11(tmp_path), PATH=path, CXX=sys.executable
    )
    assert_one_line(done, 'needs 14 GiB', 'there are 2', 'RFDETR_MM_CACHE')


@pytest.mark.parametrize('name', ['file', 'file/cache'])
def test_cache_that_cannot_be_written(tmp_path, name):
    (tmp_path / 'file').write_text('a file, no folder')
    cache = str(tmp_path / name)
    done = run(tmp_path, PYTHON=python_3_11(tmp_path), RFDETR_MM_CACHE=cache)
    assert done.returncode == 1
    assert f'cannot write to {cache}' in done.stderr.splitlines()[-1]


def test_given_environment_is_used_as_it_is(tmp_path):
    done = run(tmp_path, RFDETR_MM_VENV=sys.prefix)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == sys.prefix
    assert not (tmp_path / 'cache').exists()


def test_given_environment_lacks_something(tmp_path):
    executable(tmp_path / 'bin' / 'python', '#!/bin/sh\nexit 1\n')
    done = run(tmp_path, RFDETR_MM_VENV=str(tmp_path))
    assert_one_line(done, f'RFDETR_MM_VENV={tmp_path} lacks')


def test_another_stack(tmp_path):
    done = run(tmp_path, STACK='openmim')
    assert_one_line(done, 'onedl or openmmlab', 'got openmim')


@pytest.mark.parametrize(
    'variables, folder',
    [
        ({}, 'requirements'),
        ({'STACK': 'onedl'}, 'requirements'),
        ({'STACK': 'openmmlab'}, 'requirements/openmmlab'),
    ],
)
def test_finished_environment_is_reused_at_once(tmp_path, variables, folder):
    """Same key, `.complete` present: nothing is installed."""
    variables |= {'PYTHON': python_3_11(tmp_path), 'CXX': '/nowhere/g++'}
    first = run(tmp_path, **variables)
    assert first.returncode == 1
    key = subprocess.run(
        ['bash', '-c', '{ echo 3.11; cat "$0"/*.txt; } '
         '| sha256sum | cut -c1-12', str(SCRIPT.parents[2] / folder)],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    env = tmp_path / 'cache' / 'envs' / key
    env.mkdir(parents=True)
    (env / '.complete').touch()
    done = run(tmp_path, **variables)
    assert (done.returncode, done.stdout) == (0, f'{env}\n')


def test_stacks_have_the_same_files():
    """The script reads each of them from either folder."""
    requirements = SCRIPT.parents[2] / 'requirements'
    names = {path.name for path in requirements.glob('*.txt')}
    assert names == {p.name for p in requirements.glob('openmmlab/*.txt')}
