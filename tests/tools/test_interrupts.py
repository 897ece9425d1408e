"""Ctrl+C, a real one, at any moment: one line, and exit code 130."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data_factory import write_layout
from tests.tools.test_own_data import CONFIG, ROOT

BASE = str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')
TAIL = """
train_cfg = dict(max_epochs=3)
custom_imports = dict(
    imports=['rfdetr_mm', 'interrupting'],
    allow_failed_imports=False)
custom_hooks = [dict(type='ClassRowsHook'), dict(type='InterruptHook')]
"""
TRACEBACK = re.compile('Traceback|KeyboardInterrupt|Exception ignored')


@pytest.fixture
def command(tmp_path):
    root = write_layout(tmp_path / 'data', 'flat')
    config = tmp_path / 'tiny.py'
    config.write_text(CONFIG.format(base=BASE) + TAIL)
    return [
        *(sys.executable, str(ROOT / 'tools/train.py'), str(config)),
        *('--work-dir', str(tmp_path / 'work'), '--cfg-options'),
        f'data_root={root}',
    ]


def start(command, **variables):
    here = str(Path(__file__).parent)
    paths = [str(ROOT), here, os.environ.get('PYTHONPATH', '')]
    return subprocess.Popen(
        command,
        env={
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'PYTHONPATH': os.pathsep.join(paths),
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stopped_line(process) -> str:
    """The line of a program that Ctrl+C ended, and nothing else of it."""
    printed, errors = process.communicate(timeout=280)
    assert process.returncode == 130, errors
    assert not TRACEBACK.search(printed + errors), errors
    (line,) = [x for x in errors.splitlines() if ': stopped' in x]
    return line


@pytest.mark.parametrize('program', ['tool', 'command'])
def test_while_torch_is_imported(command, program):
    if program == 'command':
        command = [sys.executable, '-m', 'rfdetr_mm_light', 'benchmark']
        command += ['--model', 'tiny']
    process = start(command)
    maps = Path(f'/proc/{process.pid}/maps')
    while 'libtorch' not in maps.read_text():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    name = 'train.py' if program == 'tool' else 'rfdetr-mm'
    assert stopped_line(process) == f'{name}: stopped'


def goes_on(line, checkpoint):
    assert f'the last checkpoint is {checkpoint}, go on by: ' in line
    return shlex.split(line.partition('go on by: ')[2])


def test_in_training_and_the_command_goes_on(command, tmp_path):
    process = start(command, INTERRUPT='training')
    again = goes_on(stopped_line(process), tmp_path / 'work/epoch_1.pth')
    assert again == [*command, '--resume']
    process = start(again)
    printed, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors
    assert (tmp_path / 'work/epoch_3.pth').is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    'phase, last',
    [('loading', 1), ('training', 1), ('validation', 2), ('writing', 1)],
)
@pytest.mark.parametrize('workers', [0, 2])
def test_in_every_phase(command, tmp_path, phase, last, workers):
    """With workers, which the terminal signals as well."""
    for split in ('train', 'val'):
        command.append(f'{split}_dataloader.num_workers={workers}')
    process = start(command, INTERRUPT=phase, GROUP='yes')
    goes_on(stopped_line(process), tmp_path / f'work/epoch_{last}.pth')
    assert not list((tmp_path / 'work').glob('*.incomplete'))


@pytest.mark.slow
def test_before_the_first_checkpoint(command):
    command.append('train_cfg.max_epochs=300')
    process = start(command)
    for line in process.stdout:
        if 'The first batch is loaded' in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    line = stopped_line(process)
    assert 'before the first checkpoint; the same command starts' in line or (
        'the last checkpoint is' in line
    )


@pytest.mark.slow
def test_of_the_command_train_and_predict(tmp_path):
    root = write_layout(tmp_path / 'data', 'flat')
    out = tmp_path / 'out'
    command = [sys.executable, '-m', 'rfdetr_mm_light', 'train', str(root)]
    command += ['--model', 'tiny', '--resolution', '64', '--epochs', '300']
    command += ['--output-dir', str(out), '--device', 'cpu']
    process = start(command)
    while not (out / 'last_checkpoint').exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    line = stopped_line(process)
    again = shlex.split(line.partition('go on by: ')[2])
    assert again == [*command, '--resume']
    checkpoint = Path(re.search('checkpoint is (.*), go', line)[1])
    assert checkpoint.is_file()

    images = [str(p) for p in (root / 'images').iterdir()] * 2000
    command = [sys.executable, '-m', 'rfdetr_mm_light', 'predict']
    process = start([*command, *set(images), '--model', 'tiny'])
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    assert process.returncode in (0, 130)
