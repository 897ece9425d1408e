"""Order, ratios and tables, by a clock of our own; nothing is timed."""

import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def paired(monkeypatch):
    module = importlib.import_module('paired_rounds')
    return module


def test_turn_by_turn_and_back(paired):
    done, now, said = [], [0.0], []

    def work(name, seconds):
        def run():
            done.append(name)
            now[0] += seconds

        return run

    seconds = paired.paired_rounds(
        {'a': work('a', 1.0), 'b': work('b', 2.0), 'c': work('c', 4.0)},
        3,
        said.append,
        clock=lambda: now[0],
    )
    assert ''.join(done) == 'abc' + 'abc' + 'cba' + 'abc'
    assert seconds == {'a': [1.0] * 3, 'b': [2.0] * 3, 'c': [4.0] * 3}
    assert said[-1] == 'round 3 of 3'


def test_a_clock_of_several_hands(paired):
    now = np.zeros(2)

    def run():
        now[:] += 1.0, 0.25

    seconds = paired.paired_rounds({'a': run}, 2, str, lambda: now.copy())
    assert np.array_equal(seconds['a'], [[1.0, 0.25]] * 2)


@pytest.mark.parametrize('rounds', [0, -1])
def test_no_rounds(paired, rounds):
    with pytest.raises(ValueError, match=f'got {rounds}'):
        paired.paired_rounds({'a': print}, rounds)


@pytest.mark.parametrize(
    'ours, other, expected',
    [
        ([1.0], [2.0], (0.5, 0.5, 0.5)),
        # Of the rounds, not of the medians, which would say 1.
        ([1.0, 2.0, 9.0], [2.0, 1.0, 3.0], (2.0, 0.5, 3.0)),
        ([3.0, 1.0], [1.0, 1.0], (2.0, 1.0, 3.0)),
    ],
)
def test_ratio(paired, ours, other, expected):
    found = paired.ratio(ours, other)
    assert (found['median'], found['low'], found['high']) == expected


def test_quartiles(paired):
    found = paired.spread([4.0, 1.0, 3.0, 2.0, 9.0])
    assert (found['lower_quartile'], found['upper_quartile']) == (2.0, 4.0)
    assert set(paired.spread((7.0,)).values()) == {7.0}


def test_ratio_wants_the_same_rounds(paired):
    with pytest.raises(ValueError):
        paired.ratio([1.0, 2.0], [1.0])


def test_a_program_alone(paired):
    assert paired.run_alone(['-c', 'print(1); print(2)']) == '2'
    with pytest.raises(RuntimeError, match='broken'):
        paired.run_alone(['-c', 'raise SystemExit("broken")'])
    assert paired.run_alone(['-c', '']) == ''
    assert paired.peak_mib() > 10


def test_a_function_alone(paired):
    values = dict(
        median=2.0,
        low=1.0,
        high=5.0,
        lower_quartile=1.5,
        upper_quartile=3.5,
    )
    assert paired.call_alone(paired.spread, [1.0, 5.0, 2.0]) == values
    with pytest.raises(RuntimeError, match='TypeError'):
        paired.call_alone(paired.spread, ['a', 1.0])
