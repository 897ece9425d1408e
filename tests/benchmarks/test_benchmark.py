"""Counts, inputs, the report and bad input; times are not tested."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.analysis import FlopAnalyzer, complexity_analysis
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F

from tests.data_factory import CLASSES, write_layout

ROOT = Path(__file__).parents[2]
TINY = str(ROOT / 'configs/rfdetr/rfdetr_tiny_shapes-scratch.py')
MACHINE = dict(
    cpu='C',
    cores=2,
    threads=2,
    load_before=0.1,
    python='3',
    packages={},
)
CUSTOM = str(ROOT / 'configs/rfdetr/rfdetr_tiny_custom.py')
SMALL = [
    *('load_from=None', 'resolution=64', 'model.bbox_head.num_queries=8'),
    *('test_dataloader.num_workers=0', 'val_dataloader.num_workers=0'),
    *('test_dataloader.persistent_workers=False',),
    *('val_dataloader.persistent_workers=False',),
]
RTMDET = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'


@pytest.fixture
def benchmark(monkeypatch):
    module = importlib.import_module('benchmark')
    monkeypatch.setattr(module, 'matmul_peak', lambda: 1e11)
    return module


def test_both_houses_in_one_report(benchmark, tmp_path, capsys):
    out = tmp_path / 'out'
    content = benchmark.main(
        [TINY, RTMDET, '--rounds', '2', '--batch-sizes', '1', '2']
        + ['--no-memory', '--shape', '31', '64', '--out', str(out)]
        + ['--cfg-options', 'model.data_preprocessor.pad_size_divisor=32']
    )
    assert json.loads((out / 'benchmark.json').read_text()) == content
    ours, theirs = content['rows']
    assert ours['input_hw'] == theirs['input_hw'] == [32, 64]
    assert ours['params'] > 1e6 and theirs['params'] > 1e6
    for row in content['rows']:
        assert set(row) == {
            'config',
            'checkpoint',
            'input_hw',
            'params',
            'flops',
            'latency',
            'skipped',
            'peak_mib',
            'ap',
        }
        assert row['peak_mib'] is None and row['ap'] is None
        assert row['flops'] > 1e6
        eager = [t for t in row['latency'] if t['backend'] == 'eager']
        assert [t['batch_size'] for t in eager] == [1, 2]
        assert all(len(t['rounds']) == 2 for t in eager)
        assert len(eager) == len(row['latency']) and row['skipped'] == {}
    text = (out / 'benchmark.md').read_text()
    assert text in capsys.readouterr().out
    for part in ('rfdetr_tiny_shapes', 'rtmdet_tiny', 'cores'):
        assert part in text
    assert (out / 'benchmark.png').stat().st_size > 5000


def test_what_does_not_apply_is_said(benchmark, tmp_path, capsys):
    content = benchmark.main(
        [RTMDET, '--backends', 'onnxruntime', '--no-memory', '--evaluate']
        + ['--shape', '32', '64', '--out', str(tmp_path)]
    )
    (row,) = content['rows']
    assert row['latency'] == [] and row['ap'] is None
    assert 'only RFDETR' in row['skipped']['onnxruntime']
    text = capsys.readouterr().out
    assert 'Left out:' in text and 'AP: no weights were given' in text
    assert not (tmp_path / 'benchmark.png').exists()


def test_evaluation_of_a_config_that_leaves_its_classes_open(
    benchmark, tmp_path, monkeypatch
):
    """They are those of the data set, before the weights are loaded."""
    monkeypatch.chdir(tmp_path)
    root = write_layout(tmp_path / 'data', 'flat')
    options = ['--cfg-options', f'data_root={root}', *SMALL]
    args = benchmark.parse_args([CUSTOM, *options])
    cfg = benchmark.read(CUSTOM, args.cfg_options, has_data=True)
    assert cfg.model.bbox_head.num_classes == len(CLASSES)
    state = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'w.pth')
    content = benchmark.main(
        [CUSTOM, '--checkpoints', 'w.pth', '--evaluate', '--no-memory']
        + ['--rounds', '1', *options]
    )
    (row,) = content['rows']
    assert 0 <= row['ap'] <= 100 and row['skipped'] == {}


@pytest.mark.slow
def test_all_backends(benchmark, tmp_path):
    pytest.importorskip('mmdeploy')
    content = benchmark.main(
        [TINY, '--backends', *benchmark.BACKENDS, '--rounds', '1']
        + ['--batch-sizes', '1', '2', '--out', str(tmp_path)]
    )
    (row,) = content['rows']
    assert row['skipped'] == {} and row['peak_mib'] > 100
    found = [(t['backend'], t['batch_size']) for t in row['latency']]
    assert found == [(b, n) for b in benchmark.BACKENDS for n in (1, 2)]


def report(ap):
    rows = []
    for number, config in enumerate(['a/rfdetr_x.py', 'mmdet::b/other.py']):
        seconds = 0.5 * (number + 1)
        rows.append(
            dict(
                config=config,
                checkpoint=None if number else '/w/x.pth',
                input_hw=[32, 64],
                params=2_500_000,
                flops=10**10,
                latency=[
                    dict(
                        backend='eager',
                        batch_size=2,
                        seconds=dict(median=seconds, low=seconds, high=1.0),
                        rounds=[seconds],
                    )
                ],
                skipped={},
                peak_mib=512.4,
                ap=ap if number == 0 else None,
            )
        )
    return dict(
        command='benchmark.py',
        matmul_peak=1e11,
        rounds=1,
        rows=rows,
        machine=MACHINE,
    )


@pytest.mark.parametrize('ap', [None, 41.25])
def test_tables(benchmark, ap):
    from benchmark_report import markdown, plot

    text = markdown(report(ap))
    shown = '—' if ap is None else '41.2'
    assert (
        f'| rfdetr_x | x.pth | 32 x 64 | 2.5 | 10.0 | 512 | {shown} |' in text
    )
    assert '| other | random | 32 x 64 | 2.5 | 10.0 | 512 | — |' in text
    # 2 images of 10 GFLOP in 0.5 s: 40 of 100 GFLOP/s.
    row = (
        '| rfdetr_x | eager | 2 | 500.0 (500.0 to 1000.0) | 4.00 | 40 % | 1.00'
    )
    assert row in text
    row = (
        '| other | eager | 2 | 1000.0 (1000.0 to 1000.0) | 2.00 | 20 % | 2.00'
    )
    assert row in text
    (axis,) = plot(report(ap)).axes
    assert axis.get_ylabel() == ('GFLOP per image' if ap is None else 'AP')
    assert len(axis.texts) == (2 if ap is None else 1)


def test_no_picture_of_nothing(benchmark):
    from benchmark_report import plot

    assert plot(dict(rows=[])) is None


class Attention(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x[:, :, :5], x[:, :, :5])


def test_fused_attention_is_counted(benchmark, monkeypatch):
    # Where mmdet's get_flops ran in this process, it is counted already.
    known = complexity_analysis._DEFAULT_SUPPORTED_FLOP_OPS
    name = 'aten::scaled_dot_product_attention'
    monkeypatch.delitem(known, name, raising=False)
    analyzer = FlopAnalyzer(Attention(), torch.rand(2, 3, 7, 4))
    analyzer.unsupported_ops_warnings(False)
    assert analyzer.total() == 0
    analyzer.set_op_handle(name, benchmark.attention_products)
    # Scores, and sums of values: 7 x 5 products of 4, in 2 x 3 heads.
    assert analyzer.total() == 2 * (2 * 3) * (7 * 5 * 4)


@pytest.mark.parametrize(
    'pipeline, divisor, expected',
    [
        ([dict(type='RFDETRResize', scale=(128, 96))], 32, (96, 128)),
        ([dict(type='Resize', scale=(1333, 800))], 32, (800, 1344)),
        ([dict(type='RFDETRResize', scale=100)], 16, (112, 112)),
    ],
)
def test_input_size(benchmark, pipeline, divisor, expected):
    cfg = Config(
        dict(
            model=dict(data_preprocessor=dict(pad_size_divisor=divisor)),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )
    )
    assert benchmark.input_hw(cfg) == expected
    assert benchmark.input_hw(cfg, (1, divisor + 1)) == (divisor, 2 * divisor)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['no.py'], 'there is no config file no.py'),
        (['mmdet::no/such.py'], 'there is no config mmdet::no/such.py'),
        ([TINY, '--checkpoints', 'none', 'none'], '2 names for 1 configs'),
        (
            [TINY, '--checkpoints', 'no.pth'],
            'there is no checkpoint file no.pth',
        ),
        (
            [RTMDET, '--shape', '48', '64'],
            'rtmdet_tiny.* cannot compute with 48 x 64 px: .*--shape',
        ),
    ],
)
def test_bad_input(benchmark, arguments, message):
    with pytest.raises(SystemExit, match=message):
        benchmark.main(arguments)


@pytest.mark.parametrize(
    'options, message',
    [
        (['--rounds', '0'], '--rounds: must be positive, got 0'),
        (['--batch-sizes', '1', '0'], '--batch-sizes: must be positive'),
        (['--shape', '32', '-1'], '--shape: must be positive, got -1'),
    ],
)
def test_counts_are_positive(benchmark, options, message, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([TINY, *options])
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_memory_is_that_of_the_same_model(benchmark, capsys):
    from paired_rounds import call_alone

    options = {'model.bbox_head.num_queries': 7}
    peak = call_alone(benchmark.peak_of, TINY, options, (32, 64))
    assert 100 < peak < 10_000
    with pytest.raises(RuntimeError, match='no_such_key'):
        call_alone(benchmark.peak_of, TINY, {'no_such_key': 7}, None)
