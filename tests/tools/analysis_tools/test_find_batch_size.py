"""The table and the options; the search has tests of its own."""

import importlib.util
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from rfdetr_mm.engine import batch_size

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / 'configs/rfdetr'
TINY = ROOT / 'configs/rfdetr/rfdetr_tiny_shapes-scratch.py'


@pytest.fixture
def find_batch_size(monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(ROOT / 'tools'), *sys.path])
    path = ROOT / 'tools/analysis_tools/find_batch_size.py'
    spec = importlib.util.spec_from_file_location('find_batch_size', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_and_options(find_batch_size, monkeypatch, capsys):
    def probe(cfg, size, num_objects, memory_gib):
        result = dict(fits=size < 5, limit='7.0 GiB of main memory')
        if result['fits']:
            result.update(peak_gib=1.0 + size, seconds=0.5 * size)
        return result

    monkeypatch.setattr(batch_size, 'probe_in_process', probe)
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
        batch_size, 'probe_in_process', lambda *args: dict(fits=False)
    )
    with pytest.raises(SystemExit, match='not even one image of 96 x 128'):
        find_batch_size.main([str(TINY)])


@pytest.mark.parametrize(
    'options, message',
    [
        (['--target=0'], '--target must be positive, got 0'),
        (['--memory-gib=-1'], '--memory-gib must be positive'),
        (['--target=16', '--num-gpus=3'], 'cannot be shared by 3 GPUs'),
    ],
)
def test_bad_options(find_batch_size, options, message):
    with pytest.raises(SystemExit, match=message):
        find_batch_size.main([str(TINY), *options])
