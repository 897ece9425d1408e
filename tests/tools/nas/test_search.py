"""Searching a small supernet, in whole and by budget."""

import json

import pytest
import torch
from mmdet.registry import METRICS
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner

from rfdetr_mm.models import SearchSpace, Subnet

OPTIONS = ['--repeats', '1', '--device', 'cpu']
# 2 image sizes, 3 depths, 2 numbers of queries
FEWER = [
    '--cfg-options',
    'search_space.num_windows=[1]',
    'search_space.patch_sizes=[8]',
]


@pytest.fixture(scope='module')
def search():
    import search

    return search


@pytest.fixture
def fake_latency(monkeypatch):
    """As many ms as there are cells, so that numbers are known."""
    import latency

    asked = []

    def measure(self, subnet):
        asked.append(subnet)
        height, width = subnet.resolution
        cells = height * width / subnet.patch_size**2
        return cells * (1 + subnet.num_decoder_layers)

    monkeypatch.setattr(latency.Latency, 'measure', measure)
    return asked


@pytest.fixture
def counted(monkeypatch):
    """Sub-networks that were evaluated."""
    import accuracy

    seen = []
    evaluate = accuracy.Accuracy.evaluate

    def counting(self, subnets):
        seen.extend(subnets)
        return evaluate(self, subnets)

    monkeypatch.setattr(accuracy.Accuracy, 'evaluate', counting)
    return seen


def run(search, supernet, out, *options):
    return search.main(
        [*map(str, supernet), '--out', str(out), *OPTIONS, *options]
    )


def test_whole_grid(search, supernet, tmp_path, fake_latency, counted, capsys):
    measured = run(search, supernet, tmp_path, *FEWER)
    points = [m.nominal for m in measured]
    cfg = Config.fromfile(supernet[0])
    cfg.search_space.update(num_windows=[1], patch_sizes=[8])
    assert points == list(SearchSpace.from_config(cfg.search_space))
    assert len(points) == len(set(points)) == 12
    assert [m.real for m in measured] == [p.rounded() for p in points]
    out = capsys.readouterr().out
    assert '[12/12]' in out and '| Sub-network |' in out
    content = json.loads((tmp_path / 'results.json').read_text())
    assert len(content['points']) == 12
    assert content['about']['backend'] == 'pytorch'
    # All of it is known now.
    asked, evaluated = len(fake_latency), len(counted)
    assert asked == evaluated == len({m.real for m in measured})
    again = run(search, supernet, tmp_path, *FEWER)
    assert again == measured
    assert (asked, evaluated) == (len(fake_latency), len(counted))


def test_interrupted_search_goes_on(
    search, supernet, tmp_path, fake_latency, counted
):
    whole = run(search, supernet, tmp_path / 'whole', *FEWER)
    lines = (tmp_path / 'whole' / 'results.jsonl').read_text()
    cut = lines[: len(lines) // 2]
    assert not cut.endswith('\n')  # in the middle of a line
    (tmp_path / 'cut').mkdir()
    (tmp_path / 'cut' / 'results.jsonl').write_text(cut)
    counted.clear()
    assert run(search, supernet, tmp_path / 'cut', *FEWER) == whole
    assert 0 < len(counted) < 12
    (tmp_path / 'whole' / 'results.jsonl').write_text(
        lines.replace('"pytorch"', '"onnxruntime"')
    )
    with pytest.raises(SystemExit, match="backend is 'pytorch' and was 'onnx"):
        run(search, supernet, tmp_path / 'whole', *FEWER)


@METRICS.register_module(force=True)
class Fingerprint(BaseMetric):
    """Numbers that change with any detection."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            found = sample['pred_instances']
            place = torch.arange(len(found['scores'])) + 1.0
            self.results.append(
                [
                    float((found['scores'] * place).sum()),
                    float((found['bboxes'].sum(1) * place).mean()),
                    float((found['labels'] * place).sum()),
                ]
            )

    def compute_metrics(self, results):
        means = torch.tensor(results).mean(0).tolist()
        return dict(zip(('scores', 'boxes', 'labels'), means))


def test_metrics_are_those_of_the_extracted_model(supernet, tmp_path):
    """Sharing the backbone's pass and cutting give what a test run gives."""
    import accuracy
    import extract

    cfg = Config.fromfile(supernet[0])
    cfg.val_evaluator = cfg.test_evaluator = dict(type='Fingerprint')
    weights, meta = extract.read_weights(str(supernet[1]))
    names = ['36x48-p6-w2-d0-q6', '36x48-p6-w2-d1-q3']
    points = [Subnet.parse(name) for name in names]
    measured = accuracy.Accuracy(cfg, weights, 'cpu').evaluate(points)
    for point, metrics in zip(points, measured):
        config, checkpoint = extract.write_subnet(
            cfg, weights, meta, point, tmp_path
        )
        part = Config.fromfile(config)
        part.work_dir = str(tmp_path)
        part.log_level = 'ERROR'
        part.load_from = str(checkpoint)
        part.experiment_name = str(point)
        runner = Runner.from_cfg(part)
        assert runner.test() == pytest.approx(metrics, rel=1e-4)
    assert measured[0]['scores'] != measured[1]['scores']


def test_slow_points_are_not_evaluated(
    search, supernet, tmp_path, fake_latency, counted
):
    measured = run(
        search, supernet, tmp_path, '--max-latency-ms', '100', *FEWER
    )
    slow = [m for m in measured if m.latency_ms > 100]
    assert 0 < len(slow) < 12
    assert all(m.metrics is None for m in slow)
    assert all(m.metrics for m in measured if m not in slow)
    assert not {m.real for m in slow} & set(counted)


def test_budget(search, supernet, tmp_path, fake_latency, counted):
    pytest.importorskip('optuna', reason='the nas extra is not installed')
    measured = run(search, supernet, tmp_path, '--budget', '6', *FEWER)
    points = [m.nominal for m in measured]
    assert len(points) == len(set(points)) == 6
    counted.clear()
    # The same choice, from the file; a larger budget goes on from there.
    more = run(search, supernet, tmp_path, '--budget', '6', *FEWER)
    assert more == measured and not counted
    other = run(
        search, supernet, tmp_path, '--budget', '6', '--seed', '1', *FEWER
    )
    assert [m.nominal for m in other] != points


def test_nsga_finds_the_front_with_part_of_the_points():
    """On a made-up problem whose front is known."""
    pytest.importorskip('optuna', reason='the nas extra is not installed')
    import front
    import nsga

    space = SearchSpace(
        tuple((s, s) for s in range(320, 961, 64)),
        (12, 14, 16, 18, 20, 24, 28),
        (1, 2, 4),
        tuple(range(7)),
        (50, 100, 200, 300),
    )

    def measure(point):
        cells = point.resolution[0] / point.patch_size
        latency = cells**2 / 100 + 3 * point.num_decoder_layers
        latency += point.num_queries / 100 + 4 / point.num_windows
        ap = 1 - 8 / cells - 0.2 / (1 + point.num_decoder_layers)
        ap -= 3 / point.num_queries + 0.02 * point.num_windows
        return front.Measurement(point, latency, {'ap': ap})

    def area(measured):
        """Between the front and (100 ms, 0 AP)."""
        found = front.front_of(measured, 'ap')
        pairs = [
            (measured[i].latency_ms, measured[i].metrics['ap']) for i in found
        ] + [(100.0, 0)]
        return sum(
            max(0, min(100, b[0]) - a[0]) * max(a[1], 0)
            for a, b in zip(pairs, pairs[1:])
        )

    best = area([measure(point) for point in space])
    chosen = nsga.choose_points(space, measure, 'ap', 400)
    assert len({m.nominal for m in chosen}) == 400
    drawn = [measure(space.draw(step)) for step in range(400)]
    assert area(drawn) < area(chosen) <= best
    assert area(chosen) > 0.97 * best


def test_small_space_runs_out():
    pytest.importorskip('optuna', reason='the nas extra is not installed')
    import front
    import nsga

    space = SearchSpace(((64, 64),), (8, 16), (1,), (0, 1), (5,))
    found = nsga.choose_points(
        space,
        lambda point: front.Measurement(
            point, point.num_decoder_layers + 1.0, None
        ),
        'ap',
        10,
    )
    assert {m.nominal for m in found} == set(space)


def test_latency_of_pytorch(supernet):
    import extract
    import latency

    cfg = Config.fromfile(supernet[0])
    weights, _ = extract.read_weights(str(supernet[1]))
    timer = latency.Latency(
        cfg, weights, 'pytorch', 'cpu', warmup=0, repeats=2
    )
    for name in ('32x48-p8-w2-d2-q6', '36x48-p6-w1-d0-q3'):
        assert timer.measure(Subnet.parse(name)) > 0


@pytest.mark.parametrize(
    'options, words',
    [
        (['--budget', '0'], '--budget is positive, got 0'),
        (['--max-latency-ms', '-1'], '--max-latency-ms is positive'),
        (['--metric', 'coco/ap'], '--metric coco/ap: the evaluator.*bbox_mAP'),
    ],
)
def test_wrong_options_end_with_one_line(
    search, supernet, tmp_path, fake_latency, options, words
):
    with pytest.raises(SystemExit, match=words):
        run(search, supernet, tmp_path, *options)


def test_config_without_a_space_is_explained(search, supernet, tmp_path):
    config = tmp_path / 'plain.py'
    config.write_text(
        f'_base_ = {str(supernet[0])!r}\n'
        'search_space = dict(_delete_=True, num_queries=[5])\n'
    )
    with pytest.raises(SystemExit, match=r"entries.*got \['num_queries'\]"):
        run(search, (config, supernet[1]), tmp_path)
