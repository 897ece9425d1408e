"""The guards before a run, and which errors end in one line."""

import errno

import pytest
import torch
from mmengine.config import Config

from rfdetr_mm.engine.running import (
    build_runner,
    check_resumable,
    check_work_dir,
)
from rfdetr_mm.errors import InputError, curable_line
from tests.tiny_config import CONFIGS


@pytest.fixture
def files(tmp_path):
    weights = dict(state_dict=dict(a=torch.zeros(1)), meta={})
    training = dict(
        weights, optimizer={}, meta=dict(epoch=1, iter=2, cfg='', time='')
    )
    for name, content in (('w.pth', weights), ('t.pth', training)):
        torch.save(content, tmp_path / name)
    (tmp_path / 'text.pth').write_text('no checkpoint')
    return tmp_path


@pytest.mark.parametrize(
    'name, message',
    [
        ('w.pth', 'holds weights without optimizer.*load_from'),
        ('gone.pth', 'there is no checkpoint file'),
        ('text.pth', 'text.pth'),
    ],
)
def test_resuming_from_no_state_of_a_training(files, name, message):
    with pytest.raises(InputError, match=message):
        check_resumable(str(files / name))
    # By every door: the tools and the Python page build it here.
    cfg = Config.fromfile(CONFIGS / 'rfdetr/rfdetr_nano_coco.py')
    cfg.update(resume=True, load_from=str(files / name), work_dir='/')
    with pytest.raises(InputError, match=message):
        build_runner(cfg, 'cpu')


def test_states_of_a_training(files):
    check_resumable(str(files / 't.pth'))
    check_resumable(None)
    check_resumable('https://somewhere/t.pth')  # left to its loader


def test_work_dir_that_is_a_file(files):
    check_work_dir(str(files / 'new' / 'folder'))
    assert (files / 'new' / 'folder').is_dir()
    with pytest.raises(InputError, match='nothing can be written'):
        check_work_dir(str(files / 'w.pth'))


def test_two_sizes_are_refused_before_anything_is_built(files):
    cfg = Config.fromfile(CONFIGS / 'rfdetr/rfdetr_nano_coco.py')
    cfg.work_dir = str(files / 'run')
    cfg.test_pipeline[1].scale = (64, 64)
    with pytest.raises(InputError, match='says 384 x 384.*says 64 x 64'):
        build_runner(cfg)
    assert not (files / 'run').exists()


@pytest.mark.parametrize(
    'error, line',
    [
        (InputError('take 3'), 'take 3'),
        (InputError('Traceback\n  x\nrfdetr.InputError: take 3'), 'take 3'),
        (
            RuntimeError('CUDA out of memory. Tried\nmore'),
            'out of memory: CUDA out of memory. Tried Less.',
        ),
        (MemoryError(), 'out of memory: MemoryError Less.'),
        (OSError(errno.ENOSPC, 'No space', 'a'), 'Make room'),
        (FileNotFoundError('no file a'), 'no file a'),
        (ImportError('pip install it'), 'pip install it'),
        (ValueError('shapes'), None),
        (RuntimeError('shapes'), None),
        (KeyError('a'), None),
    ],
)
def test_errors_that_a_user_can_cure(error, line):
    found = curable_line(error, 'Less.')
    if line is None:
        assert found is None
    else:
        assert line in found and '\n' not in found


@pytest.mark.parametrize('off', [True, False])
def test_default_hooks_that_are_none_are_off(tmp_path, off):
    cfg = Config.fromfile(CONFIGS / 'rfdetr/rfdetr_tiny_shapes-scratch.py')
    cfg.work_dir = str(tmp_path)
    names = dict(
        finite_loss='FiniteLossHook',
        visualization='DetVisualizationHook',
        checkpoint='SafeCheckpointHook',
    )
    if off:
        cfg.default_hooks.update(dict.fromkeys(names))
    runner = build_runner(cfg, 'cpu')
    found = {type(hook).__name__ for hook in runner.hooks}
    assert {*names.values()} & found == (set() if off else {*names.values()})
    assert 'LoggerHook' in found
