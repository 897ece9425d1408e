import csv
import json
import random

import pytest

from rfdetr_mm.models import Subnet

POINT = Subnet.parse('100x160-p16-w1-d3-q50')  # really 96x160


@pytest.fixture(scope='module')
def front():
    import front

    return front


def brute_force(pairs):
    """Points that nothing beats; of equal ones the first."""

    def beaten(i):
        latency, ap = pairs[i]
        return any(
            (other[0] <= latency and other[1] >= ap)
            and (other != pairs[i] or j < i)
            for j, other in enumerate(pairs)
            if j != i
        )

    kept = [i for i in range(len(pairs)) if not beaten(i)]
    return sorted(kept, key=lambda i: pairs[i][0])


@pytest.mark.parametrize('seed', range(30))
def test_front_is_that_of_brute_force(front, seed):
    generator = random.Random(seed)
    # Few values, so that there are many ties.
    pairs = [
        (generator.randrange(8), generator.randrange(8))
        for _ in range(generator.randrange(40))
    ]
    assert front.pareto_front(pairs) == brute_force(pairs)
    pairs = [(generator.random(), generator.random()) for _ in range(200)]
    found = front.pareto_front(pairs)
    assert found == brute_force(pairs)
    assert 1 < len(found) < 50


def test_empty_front(front):
    assert front.pareto_front([]) == []


def test_files(front, tmp_path):
    measured = [
        front.Measurement(Subnet.parse(name), latency_ms, metrics)
        for name, latency_ms, metrics in (
            (str(POINT), 12.5, {'mAP': 0.4, 'other': 0.1}),
            ('64x64-p8-w2-d0-q6', 3.0, {'mAP': 0.1}),
            ('64x64-p8-w1-d0-q6', 4.0, {'mAP': 0.1}),
            ('64x96-p8-w1-d0-q6', 99.0, None),
        )
    ]
    about = dict(backend='pytorch', device='test')
    assert front.write_results(measured, 'mAP', about, tmp_path) == [1, 0]
    content = json.loads((tmp_path / 'results.json').read_text())
    assert content['about'] == about and content['metric'] == 'mAP'
    first = content['points'][0]
    assert first['subnet'] == '96x160-p16-w1-d3-q50'
    assert (first['nominal_height'], first['height']) == (100, 96)
    assert first['ap'] == 40 and first['latency_ms'] == 12.5
    assert [p['on_front'] for p in content['points']] == [
        True,
        True,
        False,
        False,
    ]
    with (tmp_path / 'results.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['subnet'] for row in rows] == [
        p['subnet'] for p in content['points']
    ]
    assert rows[0]['other'] == '0.1' and rows[1]['other'] == ''
    assert rows[3]['ap'] == ''
    table = (tmp_path / 'front.md').read_text().splitlines()
    assert table[2].startswith('| `64x64-p8-w2-d0-q6` | 64 x 64 | 64 x 64')
    assert table[3].startswith('| `96x160-p16-w1-d3-q50` | 96 x 160 | 100 x')
    assert table[3].endswith('| 12.50 | 40.00 |')
    assert table[-1] == 'backend: pytorch, device: test'
    assert (tmp_path / 'front.png').read_bytes().startswith(b'\x89PNG')


def test_nothing_fast_enough_is_no_error(front, tmp_path):
    measured = [front.Measurement(POINT, 12.5, None)]
    assert front.write_results(measured, 'ap', {}, tmp_path) == []
