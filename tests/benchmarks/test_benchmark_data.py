"""The timing of the data pipeline runs on both sides; times are not tested."""

import importlib
from pathlib import Path

import pytest

from tests.data_factory import write_layout

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark_data(monkeypatch):
    module = importlib.import_module('benchmark_data')
    return module


@pytest.mark.parametrize('has_upstream', [True, False])
def test_rows(tmp_path, benchmark_data, monkeypatch, capsys, has_upstream):
    if has_upstream:
        pytest.importorskip('rfdetr')
    else:
        monkeypatch.setattr(
            benchmark_data.importlib.util, 'find_spec', lambda name: None
        )
    root = write_layout(tmp_path / 'data', 'flat')
    medians = benchmark_data.main(
        [str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')]
        + ['--workers', '0', '--passes', '1', '--batch-size', '2']
        + ['--cfg-options', f'data_root={root}']
        + ['resolution=96']
    )
    names = [name.partition(', ')[2].split(',')[0] for name in medians]
    assert names == ['ours', 'ours'] + ['rfdetr'] * has_upstream
    assert min(medians.values()) > 0
    table = capsys.readouterr().out
    assert '96 x 96 px, batches of 2' in table
    assert all(name in table for name in medians)


def test_fewer_images_than_a_batch_are_one_line(tmp_path, benchmark_data):
    root = write_layout(tmp_path / 'data', 'flat')
    with pytest.raises(SystemExit) as stopped:
        benchmark_data.main(
            [str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')]
            + ['--workers', '0', '--batch-size', '8']
            + ['--cfg-options', f'data_root={root}']
        )
    message = str(stopped.value)
    assert '3 training images do not fill a batch of 8' in message
    assert '\n' not in message.strip()


def test_both_sides_get_the_same_images_and_boxes(tmp_path, benchmark_data):
    pytest.importorskip('rfdetr')
    from mmengine.registry import DefaultScope

    root = write_layout(tmp_path / 'data', 'flat')
    args = benchmark_data.parse_args(
        [str(ROOT / 'configs/rfdetr/rfdetr_nano_custom.py')]
        + ['--cfg-options', f'data_root={root}']
        + ['resolution=96']
    )
    cfg = benchmark_data.read_config(args)
    benchmark_data.resolve_own_data(cfg)
    with DefaultScope.overwrite_default_scope('mmdet'):
        ours = benchmark_data.our_loader(cfg, 3, 0)
        theirs = benchmark_data.upstream_loader(cfg, 3, 0)
    (batch,) = ours
    assert [img.shape for img in batch['inputs']] == [(3, 96, 96)] * 3
    ((images, targets),) = theirs
    assert images.tensors.shape == (3, 3, 96, 96)
    assert len(ours.dataset) == len(theirs.dataset) == 3
