"""What growth.py writes: tables, exponents in sentences, a picture."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import LogLocator, NullFormatter  # noqa: E402
from report import or_dash, page, ratio_cell, span, table  # noqa: E402

SIDES = ('rfdetr_mm', 'rfdetr')
# Of an axis: what it is called, in a table and in a sentence.
TITLES = {
    'image': ('side of the image, px', 'the side of the image'),
    'batch': ('images of a batch', 'the images of a batch'),
    'objects': ('objects of an image', 'the objects of an image'),
    'classes': ('classes', 'the classes'),
    'queries': ('queries of a group', 'the queries'),
}
# What is measured: what it is called, its unit, factor and format.
PARTS = {
    'time': ('time', 'ms', 1000, '.4g'),
    'memory': ('memory', 'MiB', 1, '.0f'),
}
MARGIN = 0.05  # of two exponents
COLOURS = dict(zip(SIDES, ('C0', 'C1')))


def slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    """The exponent of a curve.

    Args:
        x: What grows, ascending.
        y: What is measured.

    Returns:
        The least-squares slope of the logarithms over the upper half of the
        points, without those at 0; None for fewer than two points.
    """
    points = [pair for pair in zip(x, y) if pair[0] > 0]
    upper = points[len(points) // 2 :] if len(points) > 2 else points
    if len(upper) < 2:
        return None
    return float(np.polyfit(*np.log(np.transpose(upper)), 1)[0])


def curve(
    content: Mapping[str, Any], axis: str, part: str
) -> list[tuple[int, Mapping[str, Any]]]:
    """Value and measurement of the points of an axis, ascending."""
    found = [
        (point['setting'][axis], point[part])
        for point in content['points']
        if axis in point['axes'] and point[part]
    ]
    return sorted(found, key=lambda pair: pair[0])


def exponents(
    content: Mapping[str, Any], axis: str, part: str
) -> tuple[float | None, ...]:
    """The exponents of both sides."""
    found = curve(content, axis, part)
    x = [value for value, _ in found]
    return tuple(
        slope(x, [one['sides'][side]['median'] for _, one in found])
        for side in SIDES
    )


def faster_growth(content: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each curve that grows faster than rfdetr's."""
    for part, (word, *_) in PARTS.items():
        for axis in content['axes']:
            ours, theirs = exponents(content, axis, part)
            if ours is not None and ours > theirs + MARGIN:
                yield (
                    f'The {word} of a step grows faster than that of rfdetr '
                    f'with {TITLES[axis][1]}: its exponent is {ours:.2f}, '
                    f'that of rfdetr {theirs:.2f}.'
                )


def exponents_table(content: Mapping[str, Any]) -> str:
    """The exponents of all curves."""
    head = [f'{word}: {side}' for word, *_ in PARTS.values() for side in SIDES]
    lines = [
        [
            TITLES[axis][0],
            *(
                or_dash(one, '.2f')
                for part in PARTS
                for one in exponents(content, axis, part)
            ),
        ]
        for axis in content['axes']
    ]
    return table(['exponents', *head], lines)


def markdown(content: Mapping[str, Any]) -> str:
    """Put points and exponents into tables.

    Args:
        content: What growth.py measured.

    Returns:
        The text of the file.
    """
    sentences = list(faster_growth(content)) or [
        f'Nothing grows faster than in rfdetr by more than {MARGIN}.'
    ]
    return page(
        content,
        'Exponents: the least-squares slope of the logarithms over the upper '
        'half of the points.',
        exponents_table(content),
        *sentences,
        'Medians with the lowest and the highest round; memory is the peak '
        'of two steps beyond imports and weights. Ratios are ours over '
        'rfdetr, round by round.',
        *(_points(content, axis) for axis in content['axes']),
    )


def _points(content: Mapping[str, Any], axis: str) -> str:
    title, _ = TITLES[axis]
    head = [title]
    for _, unit, *_ in PARTS.values():
        head += [f'{side}, {unit}' for side in SIDES] + ['ratio']
    found = {part: dict(curve(content, axis, part)) for part in PARTS}
    lines = []
    for value in sorted({x for points in found.values() for x in points}):
        line = [str(value)]
        for part, (_, _, factor, form) in PARTS.items():
            one = found[part].get(value)
            if one is None:
                line += ['—'] * 3
                continue
            line += [span(one['sides'][s], form, factor) for s in SIDES]
            line.append(ratio_cell(one['ratio']))
        lines.append(line)
    fixed = [
        ', '.join(f'{k} {v}' for k, v in point['setting'].items() if k != axis)
        for point in content['points']
        if axis in point['axes']
    ]
    return (
        '\n\n'.join([f'At {fixed[0]}:', table(head, lines)]) if fixed else ''
    )


def plot(content: Mapping[str, Any]) -> plt.Figure | None:
    """Draw the curves of both sides, both axes logarithmic.

    Args:
        content: What growth.py measured.

    Returns:
        The figure, a column for each axis, times above and memory below; None
        if nothing is measured yet.
    """
    parts = [part for part in PARTS if any(p[part] for p in content['points'])]
    axes = [
        axis
        for axis in content['axes']
        if any(axis in p['axes'] for p in content['points'])
    ]
    if not parts:
        return None
    figure, panels = plt.subplots(
        len(parts),
        len(axes),
        figsize=(3.6 * len(axes) + 1, 3.2 * len(parts) + 0.6),
        sharey='row',
        squeeze=False,
    )
    for row, part in zip(panels, parts):
        for panel, axis in zip(row, axes):
            _draw(panel, content, axis, part)
    figure.tight_layout()
    plt.close(figure)
    return figure


def _draw(
    panel: plt.Axes, content: Mapping[str, Any], axis: str, part: str
) -> None:
    _, unit, factor, _ = PARTS[part]
    # A logarithmic axis has no place for 0.
    found = [pair for pair in curve(content, axis, part) if pair[0] > 0]
    x = [value for value, _ in found]
    for side, exponent in zip(SIDES, exponents(content, axis, part)):
        spans = [one['sides'][side] for _, one in found]
        label = side
        if exponent is not None:
            label += f', exponent {exponent:.2f}'
        panel.plot(
            x,
            [factor * one['median'] for one in spans],
            marker='o',
            ms=4,
            color=COLOURS[side],
            label=label,
        )
        panel.fill_between(
            x,
            [factor * one['low'] for one in spans],
            [factor * one['high'] for one in spans],
            color=COLOURS[side],
            alpha=0.2,
        )
    panel.set(
        xlabel=TITLES[axis][0],
        ylabel='step, ms' if part == 'time' else f'memory of a step, {unit}',
    )
    if not found:
        return
    panel.set(xscale='log', yscale='log')
    panel.set_xticks(x, [str(value) for value in x])
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter('{x:g}')
    for one in (panel.xaxis, panel.yaxis):
        one.set_minor_formatter(NullFormatter())
    panel.grid(alpha=0.3, which='both')
    panel.legend(fontsize=8)
