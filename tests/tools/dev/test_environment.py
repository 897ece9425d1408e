"""tools/dev/environment.sh, with stand-ins for Python, uv and compilers."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / 'tools' / 'dev' / 'environment.sh'
FAKE_PYTHON = """#!/bin/sh
case "$*" in
  *version_info*) echo {version} ;;
  *) exit {status} ;;
esac
"""
# Writes down how it was called; what is installed is what it was asked for.
FAKE_UV = """#!/bin/sh
echo "$*" >> "{calls}"
case "$*" in
  *{fails}*) echo "error: {fails} has no network" >&2; exit 2 ;;
esac
if [ "$1" = venv ]; then
  for last in "$@"; do :; done
  mkdir -p "$last/bin"
  printf '#!/bin/sh\\nexit 0\\n' > "$last/bin/python"
  chmod +x "$last/bin/python"
fi
"""
TOOLS = (
    'bash sh env sed grep cut cat tail head date awk flock mkdir rm cp mv '
    'mktemp sha256sum nproc uname touch dirname sleep chmod'
)


def executable(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path):
    """A machine without uv, compiler, pyenv and Python: its PATH folder."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for tool in TOOLS.split():
        (folder / tool).symlink_to(shutil.which(tool))
    has_free_kib(folder, 100 * 1048576)
    return folder


def has_free_kib(folder, kib):
    """Let ``df`` say how much room there is, whatever this machine has."""
    line = f'/dev/x 100 50 {kib} 50% /'
    executable(folder / 'df', f'#!/bin/sh\necho; echo "{line}"\n')


def add_python(folder, version, status=0):
    text = FAKE_PYTHON.format(version=version, status=status)
    return executable(folder / f'python{version}', text)


def add_uv(folder, fails='nothing-fails'):
    calls = folder.parent / 'calls'
    executable(folder / 'uv', FAKE_UV.format(calls=calls, fails=fails))
    return calls


def run(bare, *arguments, **variables):
    environment = {
        'PATH': str(bare),
        'HOME': str(bare.parent),
        'RFDETR_MM_CACHE': str(bare.parent / 'cache'),
        **variables,
    }
    return subprocess.run(
        ['bash', str(SCRIPT), *arguments], env=environment,
        capture_output=True, text=True, cwd=bare.parent,
    )  # fmt: skip


def assert_one_line(done, *words):
    """The last line is the error; the lines before it say the steps."""
    assert done.returncode == 1
    assert done.stdout == ''
    *steps, line = done.stderr.strip().splitlines()
    assert line.startswith('error: ')
    assert all(s.startswith(('[', 'making the env')) for s in steps), steps
    for word in words:
        assert word in line


def environments(bare):
    return sorted((bare.parent / 'cache' / 'envs').glob('*'))


def test_no_python(bare):
    assert_one_line(run(bare), 'none of Python 3.10 3.11 3.12 3.13', 'PYTHON=')


def test_named_python_is_missing(bare):
    done = run(bare, PYTHON='/nowhere/python3.11')
    assert_one_line(done, '/nowhere/python3.11 was not found', 'PYTHON=')


@pytest.mark.parametrize('version', ['3.9', '3.14', '2.7'])
def test_python_out_of_range(bare, version):
    python = add_python(bare, version)
    words = 'one of Python 3.10 3.11 3.12 3.13', f'is {version}', 'PYTHON='
    assert_one_line(run(bare, PYTHON=str(python)), *words)
    assert_one_line(run(bare), 'none of Python')


@pytest.mark.parametrize(
    'there, taken',
    [
        (['3.10', '3.11', '3.12', '3.13'], '3.11'),
        (['3.10', '3.13', '3.12'], '3.12'),
        (['3.13', '3.10'], '3.13'),
        (['3.9', '3.10'], '3.10'),
    ],
)
def test_which_python_is_taken(bare, there, taken):
    for version in there:
        add_python(bare, version)
    calls = add_uv(bare)
    done = run(bare)
    assert done.returncode == 0, done.stderr
    venv = calls.read_text().splitlines()[0]
    assert venv.startswith(f'venv -q --python python{taken} ')


def test_python_of_pyenv(bare):
    """Its shim on PATH cannot run; the version behind it can."""
    executable(bare / 'python3.11', '#!/bin/sh\nexit 127\n')
    real = bare.parent / 'pyenv' / 'versions' / '3.11.7' / 'bin'
    real.mkdir(parents=True)
    add_python(real, '3.11').rename(real / 'python')
    calls = add_uv(bare)
    done = run(bare, PYENV_ROOT=str(bare.parent / 'pyenv'))
    assert done.returncode == 0, done.stderr
    assert f'--python {real}/python ' in calls.read_text()


def test_neither_uv_nor_venv(bare):
    add_python(bare, '3.12', status=1)
    assert_one_line(run(bare), 'no venv module', 'python3.12-venv', 'uv')


@pytest.mark.parametrize(
    'group, needed', [('demo', 9), ('test', 13), ('lint', 1)]
)
def test_no_space(bare, group, needed):
    add_python(bare, '3.11')
    has_free_kib(bare, needed * 1048576 - 1)
    words = f'needs {needed} GiB', f'there are {needed - 1}', 'RFDETR_MM_CACHE'
    assert_one_line(run(bare, group), *words)


@pytest.mark.parametrize('name', ['file', 'file/cache'])
def test_cache_that_cannot_be_written(bare, name):
    add_python(bare, '3.11')
    (bare.parent / 'file').write_text('a file, no folder')
    cache = str(bare.parent / name)
    done = run(bare, RFDETR_MM_CACHE=cache)
    assert_one_line(done, f'cannot write to {cache}')


@pytest.mark.parametrize(
    'variables, words',
    [
        ({'STACK': 'openmim'}, ('onedl or openmmlab', 'got openmim')),
        ({}, ('demo, test, matrix, lint or docs', 'got all')),
    ],
)
def test_names_that_are_unknown(bare, variables, words):
    assert_one_line(run(bare, *([] if variables else ['all']), **variables),
                    *words)  # fmt: skip


def test_no_compiler_is_needed(bare):
    """mmcv is built from its source, alone and without the cache."""
    add_python(bare, '3.11')
    calls = add_uv(bare)
    done = run(bare)
    assert done.returncode == 0, done.stderr
    (mmcv,) = (line for line in calls.read_text().splitlines()
               if 'onedl-mmcv==' in line)  # fmt: skip
    for option in ('--no-cache', '--no-deps', '--no-binary onedl-mmcv'):
        assert option in mmcv
    assert 'isolation' not in mmcv


def test_compiling_without_a_compiler(bare):
    add_python(bare, '3.11')
    add_uv(bare)
    done = run(bare, COMPILE_OPS='1')
    assert_one_line(done, 'g++ was not found', 'MMCV_FIND_LINKS')
    assert environments(bare) == []


def test_compiled_wheel_of_an_index(bare):
    """It is of the torch that mmcv compiles with."""
    add_python(bare, '3.11')
    calls = add_uv(bare)
    done = run(bare, MMCV_FIND_LINKS='/wheels')
    assert done.returncode == 0, done.stderr
    text = calls.read_text()
    assert '--only-binary=:all: --find-links /wheels onedl-mmcv==' in text
    (env,) = environments(bare)
    assert 'torch==2.9.1\n' in (env / 'constraints.txt').read_text()


def test_each_command_installs_what_it_needs(bare):
    """The environment of the tests is the demo's, grown."""
    add_python(bare, '3.11')
    calls = add_uv(bare)
    done = run(bare, 'demo')
    env = done.stdout.strip()
    text = calls.read_text()
    assert 'requirements/demo.txt' in text and 'test.txt' not in text
    calls.write_text('')
    assert run(bare, 'demo').stdout.strip() == env
    assert calls.read_text() == ''
    assert run(bare, 'test').stdout.strip() == env
    text = calls.read_text()
    assert 'requirements/test.txt' in text and 'no_deps.txt' in text
    assert 'venv' not in text and '--no-binary' not in text
    calls.write_text('')
    assert run(bare, 'lint').stdout.strip() != env
    assert 'torch' not in calls.read_text()
    calls.write_text('')
    site = run(bare, 'docs').stdout.strip()
    text = calls.read_text()
    assert 'requirements/docs/lock-3.11.txt -r' in text
    assert 'requirements/docs.txt' in text and 'torch' not in text
    calls.write_text('')
    assert run(bare, 'docs').stdout.strip() == site != env
    assert calls.read_text() == ''


def test_locks_hold_what_the_groups_name():
    """A name without a pin in its file has one in each lock."""
    groups = ('demo', 'matrix', 'test')
    for folder in ('', 'openmmlab', 'docs'):
        requirements = ROOT / 'requirements' / folder
        names = set()
        for group in ('../docs',) if folder == 'docs' else groups:
            for line in (
                (requirements / f'{group}.txt').read_text().split('\n')
            ):
                name = line.split('#')[0].strip()
                for mark in '[=<>':
                    name = name.split(mark)[0]
                names |= {re.sub('[._]', '-', name.lower())} - {''}
        locks = sorted(requirements.glob('lock-*.txt'))
        assert len(locks) == (1 if folder == 'openmmlab' else 4)
        for lock in locks:
            pinned = {
                re.sub('[._]', '-', line.split('==')[0].lower())
                for line in lock.read_text().splitlines()
            }
            assert names - pinned == set(), lock


@pytest.mark.parametrize('what', ['torch', 'mmcv', 'demo.txt'])
def test_failure_leaves_nothing(bare, what):
    add_python(bare, '3.11')
    add_uv(bare, fails=what)
    done = run(bare)
    words = f'error: {what} has no network', 'UV_DEFAULT_INDEX', 'install.log'
    assert_one_line(done, 'could not be installed', *words)
    assert environments(bare) == []
    add_uv(bare)
    assert run(bare).returncode == 0


def test_failure_of_the_tests_leaves_the_demo(bare):
    add_python(bare, '3.11')
    add_uv(bare)
    env = run(bare).stdout
    calls = add_uv(bare, fails='test.txt')
    assert_one_line(run(bare, 'test'), 'requirements/test.txt')
    calls.write_text('')
    assert run(bare).stdout == env
    assert calls.read_text() == ''


def test_half_made_environment_is_made_anew(bare):
    """As a killed run leaves it: without the mark of its end."""
    add_python(bare, '3.11')
    calls = add_uv(bare)
    env = Path(run(bare).stdout.strip())
    (env / '.complete-demo').unlink()
    (env / 'half').touch()
    calls.write_text('')
    assert run(bare).stdout.strip() == str(env)
    assert not (env / 'half').exists()
    assert calls.read_text().startswith('venv')


def test_environment_that_does_not_import(bare):
    """A stand-in that is no Python of its own: its last line is shown."""
    add_python(bare, '3.11')
    add_uv(bare)
    text = (bare / 'uv').read_text()
    broken = (
        'case "$*" in *mmcv.ops*) echo undefined symbol >&2; exit 1;; esac'
    )
    executable(bare / 'uv', text.replace('exit 0', broken.replace('"', '\\"')))
    text = (bare / 'uv').read_text().replace("printf '", "printf '", 1)
    assert_one_line(run(bare), 'does not import', 'undefined symbol')
    assert environments(bare) == []


def test_another_torch(bare):
    add_python(bare, '3.10')
    add_uv(bare)
    env = Path(run(bare, TORCH='2.4.1').stdout.strip())
    lines = (env / 'constraints.txt').read_text().splitlines()
    assert [x for x in lines if x.startswith(('torch=', 'torchvision='))] == [
        'torch==2.4.1', 'torchvision==0.19.*'
    ]  # fmt: skip
    assert not [x for x in lines if x.startswith(('nvidia', 'triton='))]
    assert run(bare).stdout.strip() != str(env)


def wheel(folder, name, version):
    """A wheel of an empty module."""
    stem = f'{name}-{version}'
    with zipfile.ZipFile(folder / f'{stem}-py3-none-any.whl', 'w') as file:
        file.writestr(f'{name}.py', '')
        info = f'{stem}.dist-info'
        file.writestr(
            f'{info}/METADATA',
            f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n',
        )
        file.writestr(
            f'{info}/WHEEL',
            'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
        )
        file.writestr(
            f'{info}/RECORD',
            f'{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n'
            f'{info}/RECORD,,\n',
        )


@pytest.mark.parametrize(
    'local, failure', [('+cpu', 'pip could not'), ('', 'was not taken')]
)
def test_folder_of_cpu_builds(bare, tmp_path, local, failure):
    """By the real pip; the next step fails, as it has no index."""
    folder = tmp_path / 'wheels'
    folder.mkdir()
    version = '{}.{}'.format(*sys.version_info)
    lock = ROOT / 'requirements' / f'lock-{version}.txt'
    pins = dict(
        line.split('==') for line in lock.read_text().split() if '==' in line
    )
    for name in ('torch', 'torchvision'):
        wheel(folder, name, pins[name] + local)
    done = run(
        bare, PYTHON=sys.executable, TORCH_INDEX=str(folder),
        PIP_NO_INDEX='1', PIP_FIND_LINKS='', PIP_CONFIG_FILE=os.devnull,
        PIP_CONSTRAINT='',
    )  # fmt: skip
    assert_one_line(done, failure)


def test_given_environment_is_used_as_it_is(bare):
    done = run(bare, RFDETR_MM_VENV=sys.prefix, PATH=os.environ['PATH'])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == sys.prefix
    assert not (bare.parent / 'cache').exists()


def test_given_environment_lacks_something(bare):
    executable(
        bare / 'python', '#!/bin/sh\necho No module mmdet >&2\nexit 1\n'
    )
    given = str(bare.parent)
    done = run(bare, RFDETR_MM_VENV=given)
    words = f'RFDETR_MM_VENV={given} cannot import', 'No module mmdet'
    assert_one_line(done, *words, 'operators/setup.py')
