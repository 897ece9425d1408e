"""The search against a table; the memory of a real step."""

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / 'configs/rfdetr'


@pytest.fixture
def find_batch_size(monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(ROOT / 'tools'), *sys.path])
    path = ROOT / 'tools/analysis_tools/find_batch_size.py'
    spec = importlib.util.spec_from_file_location('find_batch_size', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
def test_search(find_batch_size, limit, target, tried, proposal):
    asked = []

    def fits(size):
        asked.append(size)
        return size <= limit

    largest = find_batch_size.find_largest(fits, target)
    assert asked == tried
    assert largest <= limit
    if proposal is None:
        assert largest == 0
    else:
        split = find_batch_size.split_target(largest, target)
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
def test_largest_shape(find_batch_size, name, shape_hw):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert find_batch_size.largest_shape(cfg) == shape_hw
    wrapped = dict(type='RepeatDataset', dataset=cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset = wrapped
    assert find_batch_size.largest_shape(cfg) == shape_hw


@pytest.mark.parametrize('with_mask', [False, True])
def test_batch_is_one_of_a_data_loader(find_batch_size, with_mask):
    cfg = Config.fromfile(CONFIGS / 'rfdetr_nano_rect_coco.py')
    cfg.train_dataloader.dataset.pipeline[1].with_mask = with_mask
    batch = find_batch_size.synthetic_batch(cfg, 2, 5)
    assert [img.shape for img in batch['inputs']] == [(3, 384, 512)] * 2
    for sample in batch['data_samples']:
        x1, y1, x2, y2 = sample.gt_instances.bboxes.unbind(1)
        assert (x1 < x2).all() and (y1 < y2).all()
        assert x2.max() <= 512 and y2.max() <= 384 and len(x1) == 5
        assert ('masks' in sample.gt_instances) == with_mask
        assert sample.gt_instances.labels.max() < 80


TINY = ROOT / 'configs/rfdetr/rfdetr_tiny_shapes.py'


def test_table_and_options(find_batch_size, monkeypatch, capsys):
    def probe(arguments, size):
        result = dict(fits=size < 5, limit='7.0 GiB of main memory')
        if result['fits']:
            result.update(peak_gib=1.0 + size, seconds=0.5 * size)
        return result

    monkeypatch.setattr(find_batch_size, 'probe_in_process', probe)
    config = str(CONFIGS / 'rfdetr_nano_multi-scale_coco.py')
    line = find_batch_size.main([config])
    assert line == (
        '--cfg-options train_dataloader.batch_size=4 '
        'optim_wrapper.accumulative_counts=4 '
        'model.data_preprocessor.batch_augments.0.interval=4'
    )
    table = capsys.readouterr().out.splitlines()
    assert table[0] == '544 x 544 px, 100 objects per image'
    assert table[2].split() == ['1', '2.00', '0.500']
    assert table[4].split() == ['4', '5.00', '2.000']
    assert table[5].split() == '8 more than 7.0 GiB of main memory'.split()
    assert table[-1] == line
    # The options are ones that the config takes.
    cfg = Config.fromfile(config)
    options = dict(option.split('=') for option in line.split()[1:])
    cfg.merge_from_dict({key: int(value) for key, value in options.items()})
    assert cfg.model.data_preprocessor.batch_augments[0].interval == 4

    line = find_batch_size.main([str(TINY), '--target', '24', '--num-gpus=4'])
    assert 'batch_size=3 optim_wrapper.accumulative_counts=2' in line


def test_nothing_fits(find_batch_size, monkeypatch):
    monkeypatch.setattr(
        find_batch_size, 'probe_in_process', lambda *args: dict(fits=False)
    )
    with pytest.raises(SystemExit, match='not even one image of 96 x 128'):
        find_batch_size.main([str(TINY)])


@pytest.mark.parametrize(
    'options, message',
    [
        (['--target=0'], '--target has to be positive, got 0'),
        (['--memory-gib=-1'], '--memory-gib has to be positive'),
        (['--target=16', '--num-gpus=3'], 'cannot be shared by 3 GPUs'),
    ],
)
def test_bad_options(find_batch_size, options, message):
    with pytest.raises(SystemExit, match=message):
        find_batch_size.main([str(TINY), *options])


def test_a_real_process(find_batch_size):
    """Its memory is that of libraries, model, averages and images."""
    arguments = [str(TINY), '--num-objects', '7']
    result = find_batch_size.probe_in_process(arguments, 2)
    assert result['fits'] and 0.3 < result['peak_gib'] < 4
    assert result['seconds'] > 0


@pytest.mark.slow
def test_a_real_process_with_little_memory(find_batch_size):
    arguments = [str(TINY), '--memory-gib', '0.1']
    result = find_batch_size.probe_in_process(arguments, 64)
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
def test_how_a_process_ends(find_batch_size, monkeypatch, status, answer):
    def run(command, **options):
        assert command[-4:] == [str(TINY), '--x', '--probe', '3']
        return subprocess.CompletedProcess(
            command,
            status,
            stdout='noise\n{"fits": true, "peak_gib": 1.0}\n',
            stderr='Traceback\nKeyError: 1',
        )

    monkeypatch.setattr(find_batch_size.subprocess, 'run', run)
    arguments = [str(TINY), '--x']
    if answer is None:
        with pytest.raises(SystemExit, match='a batch of 3 failed:\nTrace'):
            find_batch_size.probe_in_process(arguments, 3)
    else:
        assert find_batch_size.probe_in_process(arguments, 3) == answer


def test_training_keeps_averages_and_gradients(find_batch_size):
    cfg = Config.fromfile(TINY)
    cfg.model.bbox_head.update(num_queries=4, num_groups=1)
    training = find_batch_size.Training(cfg, 3)
    (average,) = training.averages
    assert average.steps == 0
    seconds = training.step(1)
    assert seconds > 0 and average.steps == 1
    assert training.optim_wrapper.inner_count == find_batch_size.WINDOW
    assert len(training.optim_wrapper.optimizer.state) > 0
