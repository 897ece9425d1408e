"""Charts show the values that they are given."""

import re
from xml.etree import ElementTree

import pytest

from rfdetr_mm.apis.report.charts import (
    Line,
    bar_chart,
    heat_map,
    line_chart,
)


def parsed(chart):
    return ElementTree.fromstring(f'<div>{chart}</div>')


def path_of(chart):
    (line,) = [
        path.get('d')
        for path in parsed(chart).iter('path')
        if 'line' in path.get('class')
    ]
    return [
        tuple(map(float, point.split()))
        for point in re.split('[ML]', line)
        if point.strip()
    ]


def test_a_line_leaves_out_what_is_not_known():
    line = Line('a', [0, 0.25, 0.5, 0.75, 1], [1, None, 0.5, -1, 0])
    points = path_of(line_chart([line], 'x', 'y'))
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x0 < x1 < x2
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 < y1 < y2  # 1 is at the top
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)


def test_a_line_of_nothing():
    chart = line_chart([Line('a', [0, 1], [-1, None])], 'x', 'y')
    assert 'class="line' not in chart
    assert '>a<' in chart


def test_bars_are_as_high_as_their_values():
    chart = bar_chart(['p', 'q'], [('one', [4, 2]), ('two', [0, 1])], '', '')
    bars = [r for r in parsed(chart).iter('rect')]
    heights = [float(bar.get('height')) for bar in bars]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[1] == pytest.approx(2 * heights[3], abs=0.2)
    assert heights[2] == 0
    assert [bar.find('title').text for bar in bars][3] == 'q: 1 two'


def test_bars_of_nothing():
    assert 'rect' not in bar_chart([], [('one', [])], '', '')
    assert 'height="0.0"' in bar_chart(['p'], [('one', [0])], '', '')


def test_a_map_shades_by_the_share_of_a_row():
    chart = heat_map([[3, 1], [0, 0]], ['cat & dog', 'b'])
    cells = [r for r in parsed(chart).iter('rect')]
    assert [cell.get('fill-opacity') for cell in cells] == [
        '0.750',
        '0.250',
        '0.000',
        '0.000',
    ]
    title = cells[1].find('title').text
    assert title == 'cat & dog found as b: 1'


def test_names_cannot_break_the_page():
    name = '<script>"&'
    for chart in (
        line_chart([Line(name, [0], [0])], name, name, (0.2, name)),
        bar_chart([name], [(name, [1]), (name, [2])], name, name),
        heat_map([[1]], [name]),
    ):
        assert '<script' not in chart
        parsed(chart)
