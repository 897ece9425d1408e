"""Work dirs that cannot be written, and a disk that gets full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_run import result, same
from tests.two_ranks import load_tool, write_configs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    return write_configs(tmp_path_factory.mktemp('configs'))


@pytest.fixture
def disk(tmp_path):
    """A disk of 400 MiB in memory."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=400m', 'tmpfs', folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('no permission to mount a disk')
    yield folder
    subprocess.run(['umount', '-l', folder], check=True)


def stop_message(tool, arguments):
    with pytest.raises(SystemExit) as stopped:
        load_tool(tool).main([str(argument) for argument in arguments])
    message = str(stopped.value)
    assert '\n' not in message
    return message


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_a_work_dir_below_a_file(configs, tmp_path, tool):
    (tmp_path / 'file').write_text('')
    tiny, oracle, weights = configs
    inputs = [tiny] if tool == 'train' else [oracle, weights]
    message = stop_message(
        tool, [*inputs, '--work-dir', tmp_path / 'file/work']
    )
    assert 'error: nothing can be written to the work dir' in message
    assert 'file/work (Not a directory)' in message
    assert '--work-dir' in message


def test_a_read_only_work_dir(configs, disk):
    remount = ['mount', '-o', 'remount,ro', disk]
    subprocess.run(remount, check=True)
    message = stop_message('train', [configs[0], '--work-dir', disk / 'work'])
    assert 'Read-only file system' in message


def test_no_room_from_the_start(configs, disk):
    fill(disk, leave=0)
    message = stop_message('train', [configs[0], '--work-dir', disk])
    assert 'No space left on device' in message


def fill(disk, leave):
    """Fill a disk but for some bytes, all of them if they are 0."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with open(disk / 'filler', 'wb') as file:
        os.posix_fallocate(file.fileno(), 0, free - leave)


def train(config, work_dir, *options):
    """Run tools/train.py with --resume; (exit status, output)."""
    done = subprocess.run(
        [sys.executable, ROOT / 'tools/train.py', config, '--resume']
        + ['--work-dir', work_dir, *options],
        env=dict(
            os.environ,
            PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT / "tests"}',
            CUDA_VISIBLE_DEVICES='',
            OMP_NUM_THREADS='1',
        ),
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_disk_that_gets_full(configs, disk, tmp_path):
    tiny = configs[0]
    status, output = train(tiny, tmp_path / 'calm')
    assert status == 0, output[-3000:]
    # Epoch 1 is validated only where it is the last one.
    status, output = train(
        tiny,
        disk,
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'default_hooks.checkpoint.save_best=None',
    )
    assert status == 0, output[-3000:]
    good = (disk / 'epoch_1.pth').read_bytes()

    # Room for half a checkpoint, then for hardly the log.
    for leave in (len(good) // 2, 2**16, 2**12):
        fill(disk, leave)
        status, output = train(tiny, disk)
        assert status == 1
        assert 'Traceback' not in output
        errors = [x for x in output.splitlines() if 'train.py: error:' in x]
        assert len(errors) == 1 and 'No space left on device' in errors[0]
        assert '--resume' in errors[0] or '--work-dir' in errors[0]
        assert (disk / 'epoch_1.pth').read_bytes() == good
        assert not list(disk.glob('*.incomplete'))
        (disk / 'filler').unlink()

    status, output = train(tiny, disk)
    assert status == 0, output[-3000:]
    found, expected = result(disk), result(tmp_path / 'calm')
    assert [k for k in expected if not same(found[k], expected[k])] == []
