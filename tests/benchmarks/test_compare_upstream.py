"""Rows, ratios and bad input; both sides do the same; nothing is timed."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MACHINE = dict(
    cpu='C',
    cores=2,
    threads=2,
    load_before=0.1,
    python='3',
    packages={},
)


@pytest.fixture
def compare(monkeypatch):
    module = importlib.import_module('compare_upstream')
    return module


def content(compare, ours, theirs, flops=None, unit='ms'):
    comparison = object.__new__(compare.CpuComparison)
    comparison.content = dict(
        command='compare_upstream.py',
        machine=MACHINE,
        matmul_peak=1e11,
        rows=[],
        skipped={'train_step_bf16': 'no units'},
    )
    comparison.add(
        'work', {'rfdetr_mm': ours, 'rfdetr': theirs}, unit=unit, flops=flops
    )
    return comparison.content


@pytest.mark.parametrize(
    'ours, theirs, ratio, verdict',
    [
        (
            [1.0],
            [2.0],
            '**0.500** (0.500 to 0.500)',
            'Nowhere is rfdetr ahead.',
        ),
        # Slower in two of three rounds, although the medians are equal.
        (
            [1.0, 2.0, 9.0],
            [2.0, 1.0, 3.0],
            '**2.000** (0.500 to 3.000)',
            'rfdetr is ahead in: work.',
        ),
    ],
)
def test_losses_are_named(compare, ours, theirs, ratio, verdict):
    text = compare.markdown(content(compare, ours, theirs))
    assert ratio in text and verdict in text
    assert 'Left out: train_step_bf16: no units' in text


def test_units_and_the_limit_of_the_machine(compare):
    flops = {'rfdetr_mm': 10**10, 'rfdetr': 1.2e10}
    text = compare.markdown(content(compare, [0.25], [0.5], flops=flops))
    # 10 GFLOP in 0.25 s: 40 of 100 GFLOP/s.
    row = '| work (ms) | 250 (250 to 250) | 500 (500 to 500) |'
    assert row in text and '| 10 | 12 | 40 % | 24 % |' in text
    text = compare.markdown(content(compare, [300.0], [200.0], unit='MiB'))
    assert '| work (MiB) | 300 (300 to 300) | 200 (200 to 200) |' in text
    assert '| — | — |' in text
    json.dumps(content(compare, [1.0], [2.0]))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--rounds', '0'], '--rounds: must be positive, got 0'),
        (['--eval-images', '-1'], '--eval-images: must be positive, got -1'),
    ],
)
def test_bad_input(compare, arguments, message, capsys):
    with pytest.raises(SystemExit):
        compare.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'options, rows, batch_size',
    [
        ([], 9, 2),
        (['--device', 'cuda'], 2, 16),
        (['--rows', 'forward', '--batch-size', '3'], 1, 3),
    ],
)
def test_the_device_chooses(compare, options, rows, batch_size):
    args = compare.parse_args(options)
    assert len(args.rows) == rows and args.batch_size == batch_size
    assert len(args.configurations) == 7


def test_bfloat16_wants_its_units(compare, tmp_path, monkeypatch):
    """Left out with the reason, before either side is built."""
    monkeypatch.setattr(compare, 'has_bf16_units', lambda: False)
    found = object.__new__(compare.CpuComparison)
    found.content = dict(rows=[], skipped={})
    found.train_step_bf16()
    assert found.content == dict(
        rows=[],
        skipped=dict(
            train_step_bf16='this processor has no units for bfloat16'
        ),
    )


@pytest.mark.parity
@pytest.mark.parametrize('agree', [True, False])
def test_sides_must_agree(compare, agree, tmp_path, monkeypatch):
    pytest.importorskip('rfdetr')
    import comparison

    monkeypatch.setattr(comparison, 'matmul_peak', lambda device: 1e11)
    if not agree:
        monkeypatch.setattr(comparison, 'TOLERANCE', 0.0)
    found = compare.CpuComparison(compare.parse_args([]), tmp_path)
    if agree:
        found.check()
        assert found.content['parity']['share'] == 1.0
    else:
        with pytest.raises(SystemExit, match='nothing is timed'):
            found.check()


def test_without_rfdetr(compare, monkeypatch):
    import upstream

    monkeypatch.setattr(
        upstream.importlib.util, 'find_spec', lambda name: None
    )
    with pytest.raises(SystemExit, match=r'pip install "rfdetr\[train\]'):
        compare.main([])


@pytest.mark.parity
def test_evaluators_agree(compare, tmp_path):
    pytest.importorskip('rfdetr')
    from coco_evaluators import our_evaluation, synthetic, upstream_evaluation

    images = synthetic(12, 20)
    theirs = upstream_evaluation(images)()
    assert 0.1 < theirs < 0.99
    for metric_type, error in (
        ('NamedCocoMetric', 6e-4),  # three decimals
        ('VernierCocoMetric', 1e-6),
    ):
        ours = our_evaluation(images, tmp_path, metric_type)()
        assert ours == pytest.approx(theirs, abs=error)


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize(
    'variant, rel', [('nano', 1e-8), ('keypoint-preview', 1e-6)]
)
def test_both_sides_take_the_same_step(
    compare, tmp_path, monkeypatch, variant, rel
):
    """Same losses of the first two steps, hence the same update between.

    In float64: AdamW's first step is as long for a gradient that is nothing
    but rounding as for any other. rfdetr's likelihood of keypoints stays in
    float32.
    """
    pytest.importorskip('rfdetr')
    import sides
    from sides import PHASES, Ours, PhaseClock, Upstream

    batches = sides.batches_of

    def double_batches(*args):
        return [
            (
                images.double(),
                [
                    (boxes.double(), labels, *(x.double() for x in others))
                    for boxes, labels, *others in objects
                ],
            )
            for images, objects in batches(*args)
        ]

    monkeypatch.setattr(sides, 'batches_of', double_batches)
    upstream = Upstream(variant)
    upstream.save(tmp_path / 'w.pth')
    ours = Ours(variant, tmp_path / 'w.pth')
    losses, clocks = [], []
    for side in (ours, upstream):
        side.model.double()
        clocks.append(PhaseClock())
        step = side.train_step(1, clocks[-1])
        losses.append([float(step()), float(step())])
        assert [list(run) for run in clocks[-1].runs] == [[*PHASES]] * 2
    # rfdetr's spare class row, of bias -20, adds 1.4e-8.
    assert losses[0] == pytest.approx(losses[1], rel=rel)
    assert losses[0][0] - losses[0][1] > 0.01
