"""Charts as SVG text that follows the colours of its page.

Colours are CSS classes (``s0``, ``s1``, ... for series), so that the same
picture is right on a light page, a dark one and paper.
"""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 420, 260  # px
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 42
_TICKS = (0, 0.2, 0.4, 0.6, 0.8, 1)


class Line(NamedTuple):
    """A curve.

    Args:
        name: Its name in the legend.
        x: From 0 to 1.
        y: From 0 to 1; None or -1 where there is nothing.
        series: Number of its colour.
        is_other: Whether it is dashed, as of the model compared with.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    series: int = 0
    is_other: bool = False


def line_chart(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    mark: tuple[float, str] | None = None,
    diagonal: bool = False,
) -> str:
    """Draw curves in the unit square.

    Args:
        lines: The curves.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
        mark: A place on the horizontal axis and its label.
        diagonal: Whether to draw the line of equal values.

    Returns:
        SVG.
    """
    parts = [_frame(x_label, y_label)]
    if diagonal:
        start, end = _point(0, 0), _point(1, 1)
        parts.append(f'<path class="grid" d="M{start} L{end}"/>')
    if mark is not None:
        x, label = mark
        top, bottom = _point(x, 1), _point(x, 0)
        parts.append(f'<path class="mark" d="M{bottom} L{top}"/>')
        anchor, shift = ('end', -4) if x > 0.5 else ('start', 4)
        at = _x(x) + shift
        parts.append(
            f'<text class="note" x="{at:.1f}" y="{_TOP + 12}" '
            f'text-anchor="{anchor}">{escape(label)}</text>'
        )
    for line in lines:
        points = [
            _point(x, y)
            for x, y in zip(line.x, line.y)
            if y is not None and y > -1
        ]
        if not points:
            continue
        kind = f's{line.series}' + (' other' if line.is_other else '')
        parts.append(f'<path class="line {kind}" d="M{" L".join(points)}"/>')
        if len(points) <= 20:
            for point in points:
                x, y = point.split()
                parts.append(
                    f'<circle class="dot {kind}" cx="{x}" cy="{y}" r="2.5"/>'
                )
    legend = [(one.name, one.series, one.is_other) for one in lines]
    return _svg(parts, HEIGHT) + _legend(legend)


def bar_chart(
    labels: Sequence[str],
    groups: Sequence[tuple[str, Sequence[float]]],
    x_label: str,
    y_label: str,
) -> str:
    """Draw upright bars, those of a label side by side.

    Args:
        labels: What stands below the bars; only some if they are many.
        groups: Name and values, at least 0, of each colour.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.

    Returns:
        SVG.
    """
    top = max((max(values, default=0) for _, values in groups), default=0)
    top = top or 1
    parts = [_frame(x_label, y_label, f'{top:,.4g}')]
    slot = 1 / max(1, len(labels))
    width = 0.84 * slot / max(1, len(groups))
    for number, (name, values) in enumerate(groups):
        for at, value in enumerate(values):
            x = at * slot + 0.08 * slot + number * width
            y = _y(value / top)
            box = (
                f'x="{_x(x):.1f}" y="{y:.1f}" '
                f'width="{_x(x + width) - _x(x):.1f}" '
                f'height="{_y(0) - y:.1f}"'
            )
            title = f'{labels[at]}: {value:,.4g} {name}'
            parts.append(
                f'<rect class="bar s{number}" {box}>'
                f'<title>{escape(title)}</title></rect>'
            )
    step = max(1, -(-len(labels) // 10))
    for at in range(0, len(labels), step):
        x = _x((at + 0.5) * slot)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - _BOTTOM + 14}" '
            f'text-anchor="middle">{escape(labels[at])}</text>'
        )
    legend = [(name, n, False) for n, (name, _) in enumerate(groups)]
    return _svg(parts, HEIGHT) + (_legend(legend) if len(groups) > 1 else '')


def heat_map(table: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Draw a table of counts, shaded by each count's share of its row.

    Args:
        table: Counts; rows and columns have the same names.
        names: Their names.

    Returns:
        SVG.
    """
    cell, left, top = 46, 120, 110
    if len(names) > 12:
        cell = 30
    size = cell * len(names)
    parts = []
    for row, counts in enumerate(table):
        whole = sum(counts) or 1
        y = top + row * cell
        parts.append(
            f'<text x="{left - 6}" y="{y + cell / 2 + 4:.0f}" '
            f'text-anchor="end">{escape(_short(names[row]))}</text>'
        )
        x = left + row * cell + cell / 2
        parts.append(
            f'<text transform="translate({x + 4:.0f} {top - 6}) rotate(-45)">'
            f'{escape(_short(names[row]))}</text>'
        )
        for column, count in enumerate(counts):
            kind = 'right' if row == column else 'wrong'
            place = f'x="{left + column * cell}" y="{y}"'
            title = f'{names[row]} found as {names[column]}: {count}'
            parts.append(
                f'<rect class="cell {kind}" {place} width="{cell - 1}" '
                f'height="{cell - 1}" fill-opacity="{count / whole:.3f}">'
                f'<title>{escape(title)}</title></rect>'
            )
            if count:
                parts.append(
                    f'<text x="{left + column * cell + cell / 2:.0f}" '
                    f'y="{y + cell / 2 + 4:.0f}" text-anchor="middle">'
                    f'{_compact(count)}</text>'
                )
    width = left + size + 60
    return _svg(parts, top + size + 6, width)


def _svg(parts: Sequence[str], height: int, width: int = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img">{"".join(parts)}</svg>'
    )


def _legend(entries: Sequence[tuple[str, int, bool]]) -> str:
    items = ''.join(
        f'<span><i class="key s{number}{" other" if is_other else ""}"></i>'
        f'{escape(name)}</span>'
        for name, number, is_other in entries
    )
    return f'<div class="legend">{items}</div>'


def _frame(x_label: str, y_label: str, top: str | None = None) -> str:
    """Grid, axes and their labels; a scale to 1, or bars up to ``top``."""
    parts = []
    for tick in _TICKS:
        y = _y(tick)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f} H{WIDTH - _RIGHT}"/>'
        )
        if top is None:
            parts.append(
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                f'{tick:g}</text><text x="{_x(tick):.1f}" '
                f'y="{HEIGHT - _BOTTOM + 14}" text-anchor="middle">{tick:g}'
                '</text>'
            )
    if top is not None:
        for y, label in ((_y(0), '0'), (_y(1), top)):
            parts.append(
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                f'{label}</text>'
            )
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f'{escape(x_label)}</text>'
    )
    y = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text transform="translate(12 {y:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    return ''.join(parts)


def _x(value: float) -> float:
    return _LEFT + value * (WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _TOP + (1 - value) * (HEIGHT - _TOP - _BOTTOM)


def _point(x: float, y: float) -> str:
    return f'{_x(x):.1f} {_y(y):.1f}'


def _short(name: str) -> str:
    return name if len(name) <= 16 else name[:15] + '…'


def _compact(count: int) -> str:
    return str(count) if count < 10_000 else f'{count / 1000:.0f}k'
