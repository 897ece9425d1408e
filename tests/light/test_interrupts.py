"""The line that Ctrl+C leaves: what was done and how to go on."""

import os
import zipfile

import pytest

from rfdetr_mm_light import interrupts


@pytest.fixture(autouse=True)
def state(monkeypatch):
    """A process in which nothing has happened."""

    class State(interrupts._State):
        command = ['python', 'train.py', 'a b.py', '--amp']
        name = 'train.py'
        work_dir = None
        num_signals = 0

    monkeypatch.setattr(interrupts, '_State', State)
    monkeypatch.delenv('RANK', raising=False)
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    return State


def write_checkpoint(path, seconds=0):
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('data', 'x')
    os.utime(path, (seconds, seconds))
    return path


@pytest.mark.parametrize(
    'command, expected',
    [
        ('t.py c.py', 't.py c.py --resume'),
        ('t.py c.py --resume', 't.py c.py --resume'),
        ('t.py c.py --resume a.pth --amp', 't.py c.py --amp --resume'),
        ('t.py --resume --amp c.py', 't.py --amp c.py --resume'),
        ('t.py --resume=a.pth c.py', 't.py c.py --resume'),
        (
            't.py c.py --cfg-options a=1',
            't.py c.py --cfg-options a=1 --resume',
        ),
    ],
)
def test_the_command_that_goes_on(command, expected):
    assert interrupts.with_resume(command.split()) == expected.split()


def test_without_a_training(state):
    assert interrupts.stop_line() == 'train.py: stopped'


def test_with_a_checkpoint(tmp_path):
    interrupts.note_training(tmp_path, is_resumed=False)
    new = write_checkpoint(tmp_path / 'epoch_3.pth', 4e9)
    assert interrupts.stop_line() == (
        f'train.py: stopped; the last checkpoint is {new}, go on by: python '
        "train.py 'a b.py' --amp --resume"
    )


@pytest.mark.parametrize('is_resumed', [True, False])
def test_checkpoints_of_an_earlier_training(tmp_path, is_resumed):
    """They are this one's only if it was resumed from them."""
    old = write_checkpoint(tmp_path / 'epoch_3.pth')
    interrupts.note_training(tmp_path, is_resumed)
    line = interrupts.stop_line()
    assert (str(old) in line) == is_resumed
    assert ('before the first checkpoint' in line) != is_resumed


def test_the_last_checkpoint(tmp_path):
    assert interrupts.last_checkpoint(tmp_path) is None
    one = write_checkpoint(tmp_path / 'epoch_1.pth', 1)
    two = write_checkpoint(tmp_path / 'iter_20.pth', 2)
    (tmp_path / 'epoch_3.pth').write_bytes(b'PK half written')
    assert interrupts.last_checkpoint(tmp_path) == two
    (tmp_path / 'last_checkpoint').write_text(str(one))
    assert interrupts.last_checkpoint(tmp_path) == one
    one.unlink()
    assert interrupts.last_checkpoint(tmp_path) == two


def test_a_distributed_job_is_one_line_by_the_first_process(
    tmp_path, monkeypatch, capsys
):
    interrupts.note_training(tmp_path, is_resumed=False)
    write_checkpoint(tmp_path / 'epoch_3.pth', 4e9)
    monkeypatch.setenv('WORLD_SIZE', '2')
    for rank in ('1', '0'):
        monkeypatch.setenv('RANK', rank)
        interrupts.say_stopped()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith('go on by: the same command with --resume')


@pytest.mark.parametrize('error', [KeyboardInterrupt(), RuntimeError('gone')])
def test_what_comes_of_ctrl_c_is_one_line(state, capsys, error):
    state.num_signals = 1
    with pytest.raises(SystemExit) as stopped:
        with interrupts.unwinding():
            raise error
    assert stopped.value.code == 130
    assert capsys.readouterr().err == 'train.py: stopped\n'


def test_other_errors_stay(capsys):
    with pytest.raises(RuntimeError, match='a bug'):
        with interrupts.unwinding():
            raise RuntimeError('a bug')
    assert capsys.readouterr().err == ''


def test_a_swallowed_interrupt_is_raised_again(state):
    interrupts.raise_if_interrupted()
    state.num_signals = 1
    with pytest.raises(KeyboardInterrupt):
        interrupts.raise_if_interrupted()
