"""Cells, tables, pages and files of the one report writer."""

import importlib
import json

import pytest
from matplotlib import pyplot as plt

SPREAD = dict(median=0.25, low=0.125, high=2.0)


@pytest.fixture(scope='module')
def report():
    return importlib.import_module('report')


@pytest.fixture(scope='module')
def machine():
    return importlib.import_module('paired_rounds').machine()


def test_table(report):
    found = report.table(['', 'a'], [['x', '1'], ['y', '2']])
    assert found.splitlines() == [
        '|  | a |',
        '| :--- | ---: |',
        '| x | 1 |',
        '| y | 2 |',
    ]


def test_cells(report):
    assert report.span(SPREAD, '.2f') == '0.25 (0.12 to 2.00)'
    assert report.span(SPREAD, '.0f', 1000) == '250 (125 to 2000)'
    assert report.ratio_cell(SPREAD) == '**0.250** (0.125 to 2.000)'
    assert report.or_dash(None, '.1f') == report.percent(None) == '—'
    assert (report.or_dash(0.25, '.1f'), report.percent(0.4)) == (
        '0.2',
        '40 %',
    )
    assert report.percent(0.4, '.1f') == '40.0 %'


def test_who_is_ahead(report):
    assert report.verdict([]) == 'Nowhere is rfdetr ahead.'
    assert report.verdict(['a', 'b']) == 'rfdetr is ahead in: a; b.'


def test_machine_is_named(report, machine):
    line = report.machine_line(machine)
    assert machine['cpu'] in line
    assert f'torch {machine["packages"]["torch"]}' in line


@pytest.mark.parametrize('skipped', [{}, {'data': 'none was given'}])
def test_files(report, machine, skipped, tmp_path, capsys):
    content = dict(command='a.py --b', machine=machine, skipped=skipped)
    text = report.page(content, 'A paragraph.')
    assert text.startswith('`a.py --b`\n\n') and 'A paragraph.' in text
    assert ('Left out: data: none was given\n' in text) == bool(skipped)
    figure = plt.figure() if skipped else None
    report.publish(tmp_path / 'new', 'x', content, text, figure)
    found = sorted(p.name for p in (tmp_path / 'new').iterdir())
    assert found == ['x.json', 'x.md', *(['x.png'] if skipped else [])]
    assert json.loads((tmp_path / 'new/x.json').read_text()) == content
    assert (tmp_path / 'new/x.md').read_text() == text
    printed = capsys.readouterr().out
    assert text in printed and f'Report in {tmp_path / "new"}' in printed
