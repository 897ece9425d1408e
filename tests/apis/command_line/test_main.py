import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rfdetr_mm.apis.command_line import main as package_main
from rfdetr_mm.apis.command_line.main import COMMANDS, build_parser
from rfdetr_mm.errors import InputError
from tests.light.command_line.test_main import NAMES

ROOT = Path(__file__).parents[3]


def test_help_teaches(command):
    code, printed, _ = command('--help')
    assert code == 0
    assert all(f'    {name}' in printed for name in NAMES)
    assert 'Exit codes: 0 done, 1 it failed' in printed
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize('name', NAMES)
def test_each_help_has_examples_that_parse(command, name):
    code, printed, _ = command(name, '--help')
    assert code == 0
    examples = [
        line.split()[1:]
        for line in printed.splitlines()
        if line.startswith('  rfdetr-mm ')
    ]
    assert len(examples) >= 2
    for example in examples:
        assert build_parser().parse_args(example).command == name


@pytest.mark.parametrize(
    'arguments', [[], ['fly'], ['info', '--wings'], ['predict', '--threshold']]
)
def test_wrong_usage(command, arguments):
    code, printed, errors = command(*arguments)
    assert code == 2 and printed == '' and 'usage: rfdetr-mm' in errors


@pytest.mark.parametrize(
    'error, code',
    [
        (InputError('two\n  lines'), 1),
        (FileNotFoundError('two lines'), 1),
        (ImportError('two lines'), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_are_one_line(command, monkeypatch, error, code):
    def fail(args):
        raise error

    (info,) = (m for m in COMMANDS if m.__name__.endswith('.info'))
    monkeypatch.setattr(info, 'run', fail)
    found, _, errors = command('info')
    assert found == code and errors.count('\n') == 1
    if isinstance(error, Exception):
        assert errors == 'rfdetr-mm info: error: two lines\n'
        with pytest.raises(type(error)):
            package_main(['--traceback', 'info'])


@pytest.mark.parametrize('device', ['foo', 'cuda:99'])
def test_a_device_that_is_not_there_is_one_line(command, device):
    given = ('--model', 'nano', '--device', device)
    code, _, errors = command('benchmark', *given)
    assert code == 1 and errors.count('\n') == 1
    assert 'benchmark: error: device' in errors


def test_full_memory_has_a_way_out(command, monkeypatch):
    def fail(args):
        raise RuntimeError("CPU: can't allocate memory: 9 bytes")

    (info,) = (m for m in COMMANDS if m.__name__.endswith('.info'))
    monkeypatch.setattr(info, 'run', fail)
    code, _, errors = command('info')
    assert code == 1 and errors.count('\n') == 1
    assert 'Lower --batch-size' in errors


def test_bugs_are_not_hidden(monkeypatch):
    def fail(args):
        raise ZeroDivisionError

    (info,) = (m for m in COMMANDS if m.__name__.endswith('.info'))
    monkeypatch.setattr(info, 'run', fail)
    with pytest.raises(ZeroDivisionError):
        package_main(['info'])


def test_standard_output_is_for_results(tmp_path):
    """OneDL's mmdet prints lines when it is imported."""
    done = subprocess.run(
        [sys.executable, '-m', 'rfdetr_mm.apis.command_line.main', 'info']
        + ['--json'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)['package'] == str(ROOT / 'rfdetr_mm')
