"""The search against a table; the memory of a real step."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from mmengine.config import Config

from rfdetr_mm.engine import batch_size as module
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.config_facts import largest_training_size

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs/rfdetr'
TINY = ROOT / 'configs/rfdetr/rfdetr_tiny_shapes-scratch.py'


@pytest.mark.parametrize(
    'limit, target, tried, proposal',
    [
        (100, 16, [1, 2, 4, 8, 16], (16, 1)),
        (16, 16, [1, 2, 4, 8, 16], (16, 1)),
        (15, 16, [1, 2, 4, 8, 16], (8, 2)),
        (5, 16, [1, 2, 4, 8], (4, 4)),
        (1, 16, [1, 2], (1, 16)),
        (0, 16, [1], None),
        (100, 24, [1, 2, 4, 8, 16, 24], (24, 1)),
        (23, 24, [1, 2, 4, 8, 16, 24], (12, 2)),
        (13, 24, [1, 2, 4, 8, 16, 12], (12, 2)),
        (11, 24, [1, 2, 4, 8, 16, 12], (8, 3)),
        (7, 24, [1, 2, 4, 8, 6], (6, 4)),
        # 16 to 32: 20 and 30 divide 60; the greater is tried first.
        (31, 60, [1, 2, 4, 8, 16, 32, 30], (30, 2)),
        (29, 60, [1, 2, 4, 8, 16, 32, 30, 20], (20, 3)),
        (6, 7, [1, 2, 4, 7], (1, 7)),
        (3, 1, [1], (1, 1)),
    ],
)
def test_search(limit, target, tried, proposal):
    asked = []

    def fits(size):
        asked.append(size)
        return size <= limit

    largest = module.find_largest(fits, target)
    assert asked == tried
    assert largest <= limit
    if proposal is None:
        assert largest == 0
    else:
        split = module.split_target(largest, target)
        assert split == proposal and split[0] * split[1] == target


@pytest.mark.parametrize(
    'name, shape_hw',
    [
        ('rfdetr_nano_coco', (384, 384)),
        ('rfdetr_nano_custom', (384, 384)),
        ('rfdetr_nano_multi-scale_coco', (544, 544)),
        ('rfdetr_nano_per-sample-multi-scale_coco', (544, 544)),
        ('rfdetr_nano_rect_coco', (384, 512)),
        ('rfdetr_nano_keep-ratio_coco', (512, 512)),
        ('rfdetr_2xlarge_coco', (880, 880)),
    ],
)
def test_largest_training_size(name, shape_hw):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert largest_training_size(cfg) == shape_hw
    wrapped = dict(type='RepeatDataset', dataset=cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset = wrapped
    assert largest_training_size(cfg) == shape_hw


@pytest.mark.parametrize('with_mask', [False, True])
def test_batch_is_one_of_a_data_loader(with_mask):
    cfg = Config.fromfile(CONFIGS / 'rfdetr_nano_rect_coco.py')
    cfg.train_dataloader.dataset.pipeline[1].with_mask = with_mask
    batch = module.synthetic_batch(cfg, 2, 5)
    assert [img.shape for img in batch['inputs']] == [(3, 384, 512)] * 2
    for sample in batch['data_samples']:
        x1, y1, x2, y2 = sample.gt_instances.bboxes.unbind(1)
        assert (x1 < x2).all() and (y1 < y2).all()
        assert x2.max() <= 512 and y2.max() <= 384 and len(x1) == 5
        assert ('masks' in sample.gt_instances) == with_mask
        assert sample.gt_instances.labels.max() < 80


@pytest.fixture
def tiny():
    return Config.fromfile(TINY)


def test_a_real_process(tiny):
    """Its memory is that of libraries, model, averages and images."""
    result = module.probe_in_process(tiny, 2, num_objects=7)
    assert result['fits'] and 0.3 < result['peak_gib'] < 4
    assert result['seconds'] > 0


@pytest.mark.slow
def test_a_real_process_with_little_memory(tiny):
    result = module.probe_in_process(tiny, 64, memory_gib=0.1)
    assert result == dict(fits=False, limit='0.1 GiB of main memory')


@pytest.mark.parametrize(
    'status, answer',
    [
        (0, dict(fits=True, peak_gib=1.0)),
        (-signal.SIGKILL, dict(fits=False)),  # by the kernel
        (-signal.SIGABRT, dict(fits=False)),  # C++ without memory
        (1, None),
    ],
)
def test_how_a_process_ends(monkeypatch, tiny, status, answer):
    def run(command, **options):
        assert command[-3] == 'rfdetr_mm.engine.batch_size'
        assert Config.fromfile(command[-2]).model == tiny.model
        assert json.loads(command[-1]) == [3, 100, None]
        assert str(ROOT) in options['env']['PYTHONPATH']
        return subprocess.CompletedProcess(
            command,
            status,
            stdout='noise\n{"fits": true, "peak_gib": 1.0}\n',
            stderr='Traceback\nKeyError: 1',
        )

    monkeypatch.setattr(module.subprocess, 'run', run)
    if answer is None:
        with pytest.raises(InputError, match='a batch of 3 failed:\nTrace'):
            module.probe_in_process(tiny, 3)
    else:
        assert module.probe_in_process(tiny, 3) == answer


def test_proposal(monkeypatch, tiny):
    monkeypatch.setattr(
        module, 'probe_in_process', lambda cfg, size, *_: dict(fits=size < 5)
    )
    told = []
    proposal = module.propose_batch_size(
        tiny, 16, lambda size, result: told.append((size, result['fits']))
    )
    assert proposal == (4, 4)
    assert told == [(1, True), (2, True), (4, True), (8, False)]


def test_training_keeps_averages_and_gradients(tiny):
    tiny.model.bbox_head.update(num_queries=4, num_groups=1)
    training = module.Training(tiny, 3)
    (average,) = training.averages
    assert average.steps == 0
    seconds = training.step(1)
    assert seconds > 0 and average.steps == 1
    assert training.optim_wrapper.inner_count == module.WINDOW
    assert len(training.optim_wrapper.optimizer.state) > 0
