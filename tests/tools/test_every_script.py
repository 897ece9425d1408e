"""Every script runs from a fresh clone, from any folder, with nothing set."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ('tools', 'benchmarks', 'demo')
    for path in (ROOT / folder).rglob('*.py')
    if "if __name__ == '__main__':" in path.read_text()
)
# Imports what takes long once, without this package, and forks for each
# script. A script has its own folder in front, as python itself does it.
PROGRAM = """
import gc, io, json, os, runpy, sys, traceback
from pathlib import Path
import matplotlib, mmdet.apis, mmdet.datasets, mmdet.models, torch

assert 'rfdetr_mm' not in sys.modules
# What is imported stays, and is shared with the processes that are forked.
gc.disable(), gc.freeze()
root, *scripts = sys.argv[1:]
results = {}
for script in scripts:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        path = Path(root, script)
        sys.argv = [str(path), '--help']
        sys.path[0] = str(path.parent)
        sys.stdout = io.StringIO()
        status, text = None, ''
        try:
            runpy.run_path(str(path), run_name='__main__')
        except SystemExit as end:
            status, text = end.code or 0, sys.stdout.getvalue()
        except BaseException:
            text = traceback.format_exc()
        package = sys.modules.get('rfdetr_mm')
        answer = dict(
            status=status, text=text,
            package=package and package.__file__,
        )
        with open(writer, 'w') as file:
            file.write(json.dumps(answer))
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        results[script] = json.loads(file.read())
    os.waitpid(child, 0)
print(json.dumps(results))
"""


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith('PYTHON')
    }
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, str(ROOT), *SCRIPTS],
        cwd=tmp_path_factory.mktemp('elsewhere'),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_there_are_scripts():
    assert len(SCRIPTS) >= 20


@pytest.mark.parametrize('script', SCRIPTS)
def test_help(results, script):
    found = results[script]
    assert found['status'] == 0, found['text']
    assert 'usage:' in found['text'] or 'options:' in found['text']
    if found['package'] is not None:
        assert Path(found['package']).parent == ROOT / 'rfdetr_mm'


# Name: what it must be given, and what of that it hands on.
LAUNCHERS = {
    'dist_train.sh': ('c.py 2', 'c.py'),
    'dist_test.sh': ('c.py w.pth 2', 'c.py w.pth'),
    'slurm_train.sh': ('part job c.py work', 'c.py --work-dir work'),
    'slurm_test.sh': ('part job c.py w.pth', 'c.py w.pth'),
}


@pytest.fixture
def launch(tmp_path):
    """Run a script in a folder where python and srun print what they get."""
    for name in ('python', 'srun'):
        (tmp_path / name).write_text(
            f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n'
        )
        (tmp_path / name).chmod(0o755)

    def run(name, *arguments, **variables):
        path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
        return subprocess.run(
            [ROOT / 'tools' / name, *arguments],
            cwd=tmp_path,
            env={'PATH': path, **variables},
            capture_output=True,
            text=True,
        )

    return run


def test_all_launchers_are_tested():
    assert {p.name for p in (ROOT / 'tools').glob('*.sh')} == {*LAUNCHERS}


@pytest.mark.parametrize('name', LAUNCHERS)
def test_a_launcher_starts_this_clone(launch, name):
    given, handed_on = LAUNCHERS[name]
    launcher, _, tool = name.removesuffix('.sh').partition('_')
    done = launch(name, *given.split(), '--a', 'b c', GPUS='2', PORT='7')
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    start = words.index(str(ROOT / 'tools' / f'{tool}.py'))
    kind = 'pytorch' if launcher == 'dist' else 'slurm'
    expected = [*handed_on.split(), '--launcher', kind, '--a', 'b c']
    assert words[start + 1 :] == expected
    if launcher == 'dist':
        assert {'--nproc_per_node=2', '--master_port=7'} <= {*words[:start]}
    else:
        assert words[0] == 'srun' and words[start - 2 : start] == [
            'python',
            '-u',
        ]
        expected = {'--partition=part', '--job-name=job', '--ntasks=2'}
        assert expected <= {*words[:start]}


@pytest.mark.parametrize('name', LAUNCHERS)
def test_a_launcher_says_how_it_is_used(launch, name):
    given, _ = LAUNCHERS[name]
    done = launch(name, *given.split()[:-1])
    assert done.returncode == 2 and done.stdout == ''
    assert done.stderr.startswith(f'Usage: tools/{name} ')
