"""Both sides' files of the same weights, and the table; nothing is timed."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from rfdetr_mm.datasets import resolve_own_data
from tests.data_factory import write_coco

pytest.importorskip('mmdeploy')
pytest.importorskip('rfdetr')

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/rfdetr/rfdetr_nano_custom.py'


@pytest.fixture
def benchmark(monkeypatch):
    module = importlib.import_module('benchmark_export')
    return module


def test_table_says_who_is_faster(benchmark):
    rows = {
        benchmark.BASE: dict(ms=2.0, ratio=1.0, megabytes=1.0, nodes=5),
        benchmark.UPSTREAM: dict(ms=4.0, ratio=2.0, megabytes=1.5, nodes=9),
    }
    text = benchmark.markdown(
        dict(
            files=rows,
            batch=1.25,
            batch_size=8,
            rounds=3,
            profiles={
                benchmark.BASE: dict(Gemm=[2, 1.5]),
                benchmark.ANY_BATCH: dict(Gemm=[2, 1.5], Gelu=[1, 0.25]),
                'batch of 8': dict(Gemm=[2, 1.25], Gelu=[1, 0.5]),
            },
        )
    )
    assert '| rfdetr fp32 | 4.0 | 2.000 | 1.5 | 9 |' in text
    assert 'ours fp32 takes 0.500 of the time of rfdetr fp32' in text
    assert 'a batch of 8 has 1.25 times' in text
    assert 'ours fp32: Gemm x2 1.5 ms' in text
    assert '| Gelu x1 | 0.2 | 0.5 |' in text
    assert '| all | 1.8 | 1.8 |' in text


@pytest.mark.slow  # exports three graphs, quantises two
def test_all_files_are_of_the_same_weights(benchmark, tmp_path):
    data = write_coco(tmp_path / 'data', [(60, 90), (90, 60), (64, 64)])
    annotations = (data / 'annotations.json').read_text()
    for name in ('train.json', 'val.json'):
        (data / name).write_text(annotations)
    options = dict(data_root=str(data), load_from=None)
    options['model.bbox_head.num_queries'] = 8
    options['model.backbone.img_size'] = 64
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(options)
    resolve_own_data(cfg)
    torch.manual_seed(0)
    weights = MODELS.build(cfg.model).state_dict()
    # Trained weights differ between layers; torch shares those that do not.
    for value in weights.values():
        if value.is_floating_point():
            value += 0.02 * torch.randn_like(value)
    classes = cfg.train_dataloader.dataset.metainfo
    torch.save(
        dict(state_dict=weights, meta=dict(dataset_meta=classes)),
        tmp_path / 'weights.pth',
    )
    options['resolution'] = 64
    result = benchmark.main(
        [str(CONFIG), str(tmp_path / 'weights.pth'), '--rounds', '1']
        + ['--batch', '2', '--calibration', '2', '--profile']
        + ['--out', str(tmp_path / 'out'), '--cfg-options']
        + [f'{key}={value}' for key, value in options.items()]
    )
    ours, theirs = (
        result['files'][name] for name in (benchmark.BASE, benchmark.UPSTREAM)
    )
    assert ours['nodes'] < theirs['nodes']
    assert ours['megabytes'] < theirs['megabytes']
    assert 0 <= result['box_difference'] < 1e-3
    assert set(result['profiles']) == {*result['files'], 'batch of 2'}
    saved = (tmp_path / 'out' / 'benchmark_export.json').read_text()
    assert json.loads(saved)['files'] == result['files']
