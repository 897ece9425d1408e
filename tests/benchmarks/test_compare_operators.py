"""Which rows there are and what they say; times are not tested."""

import importlib

import pytest

from rfdetr_mm.operators import extension


@pytest.fixture
def operators(monkeypatch):
    module = importlib.import_module('compare_operators')
    threads = module.torch.get_num_threads()
    yield module
    module.torch.set_num_threads(threads)


def rows(printed):
    return [
        [cell.strip() for cell in line.strip(' |').split('|')]
        for line in printed.splitlines()
        if ' ms ' in line
    ]


def test_without_compiled_operators_the_formulas_stay(
    operators, monkeypatch, capsys
):
    monkeypatch.setattr(
        operators.importlib.util, 'find_spec', lambda name: None
    )
    operators.main(['--rounds', '1', '--threads', '1', '--only', 'focal'])
    printed = capsys.readouterr()
    found = rows(printed.out)
    assert [row[0] for row in found] == [
        'sigmoid_focal_loss, gradients',
        'softmax_focal_loss, gradients',
    ]
    # Loss and gradient are the formula's, within rounding.
    for row in found:
        for part in row[-1].split('; '):
            difference, _, largest = part.partition(' of ')
            assert float(difference) <= 1e-5 * float(largest or 0)
    assert 'no compiled operators here' in printed.err


def test_a_row_of_two_extensions(operators, monkeypatch, capsys):
    monkeypatch.setattr(operators, 'load_compiled', lambda path: extension)
    operators.main(['--rounds', '2', '--threads', '1', '--only', 'nms  100'])
    found = rows(capsys.readouterr().out)
    assert [row[0] for row in found] == ['nms  100', 'nms  100, equal scores']
    assert [row[-1] for row in found] == ['0; 0'] * 2


@pytest.mark.parametrize(
    'name, words',
    [
        ('_ext.py', 'must be a compiled extension'),
        ('no.so', 'there is no file'),
    ],
)
def test_a_file_that_is_no_extension(operators, tmp_path, name, words):
    with pytest.raises(SystemExit, match=words):
        operators.main([str(tmp_path / name)])


@pytest.mark.parametrize(
    'ours, expected',
    [
        ([1.0, 2.0], '0'),
        ([1.0, 2.5], '5e-01 of 2'),
        ([1.0], '1 beside 2'),
    ],
)
def test_differences(operators, ours, expected):
    torch = operators.torch
    other = torch.tensor([1.0, 2.0])
    assert operators.differences(other, torch.tensor(ours)) == expected
    labels = torch.tensor([1, 2])
    assert operators.differences(labels, labels + 1) == '2 of 2 others'
