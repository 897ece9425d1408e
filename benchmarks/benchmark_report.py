"""What benchmark.py writes: JSON, tables in Markdown, a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import LogLocator, NullFormatter  # noqa: E402
from paired_rounds import ratio  # noqa: E402
from report import or_dash, page, percent, publish, span, table  # noqa: E402

MARKERS = {'eager': 'o', 'compiled': 's', 'onnxruntime': '^'}


def write_report(content: dict[str, Any], out: Path) -> None:
    """Write all three files and print the tables.

    Args:
        content: What benchmark.py measured.
        out: Folder; it is made.
    """
    publish(out, 'benchmark', content, markdown(content), plot(content))


def short_name(config: str) -> str:
    """A config's name without folders and suffix."""
    return Path(config.rpartition('::')[2]).stem


def markdown(content: Mapping[str, Any]) -> str:
    """Put the numbers into tables.

    Args:
        content: What benchmark.py measured.

    Returns:
        The text of the file.
    """
    peak = content['matmul_peak'] / 1e9
    parts = [
        f'Matrix products reach {peak:.0f} GFLOP/s here.',
        _models(content['rows']),
        _latencies(content),
    ]
    skipped = [
        f'* {short_name(row["config"])}, {what}: {reason}'
        for row in content['rows']
        for what, reason in row['skipped'].items()
    ]
    if skipped:
        parts.append('Left out:\n\n' + '\n'.join(skipped))
    return page(content, *parts)


def _models(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ['model', 'weights', 'input H x W', 'parameters (M)', 'GFLOP']
    head += ['peak memory (MiB)', 'AP']
    lines = []
    for row in rows:
        weights = row['checkpoint']
        lines.append(
            [
                short_name(row['config']),
                'random' if weights is None else Path(weights).name,
                '{} x {}'.format(*row['input_hw']),
                f'{row["params"] / 1e6:.1f}',
                f'{row["flops"] / 1e9:.1f}',
                or_dash(row['peak_mib'], '.0f'),
                or_dash(row['ap'], '.1f'),
            ]
        )
    return table(head, lines)


def _latencies(content: Mapping[str, Any]) -> str:
    head = ['model', 'run by', 'images', 'ms: median (low to high)']
    head += ['images/s', 'of the matmul peak', 'times the first row']
    lines, first = [], None
    for row in content['rows']:
        for timed in row['latency']:
            count, seconds = timed['batch_size'], timed['seconds']
            first = first or timed
            done = count * row['flops'] / seconds['median']
            times = ratio(timed['rounds'], first['rounds'])
            lines.append(
                [
                    short_name(row['config']),
                    timed['backend'],
                    str(count),
                    span(seconds, '.1f', 1000),
                    f'{count / seconds["median"]:.2f}',
                    percent(done / content['matmul_peak']),
                    f'{times["median"]:.2f}',
                ]
            )
    return table(head, lines)


def plot(content: Mapping[str, Any]) -> plt.Figure | None:
    """Draw AP, or arithmetic where no AP was measured, over latency.

    Args:
        content: What benchmark.py measured.

    Returns:
        The figure; None if nothing ran.
    """
    rows = [row for row in content['rows'] if row['latency']]
    if not rows:
        return None
    has_ap = any(row['ap'] is not None for row in rows)
    figure, axis = plt.subplots(figsize=(9, 6))
    points = {}
    for row in rows:
        value = row['ap'] if has_ap else row['flops'] / 1e9
        if value is None:
            continue
        for backend in dict.fromkeys(t['backend'] for t in row['latency']):
            timed = next(t for t in row['latency'] if t['backend'] == backend)
            median, low, high = (
                1000 * timed['seconds'][k] / timed['batch_size']
                for k in ('median', 'low', 'high')
            )
            axis.errorbar(
                median,
                value,
                xerr=[[median - low], [high - median]],
                marker=MARKERS[backend],
                color='C0' if 'rfdetr' in row['config'] else 'C1',
                capsize=3,
            )
            points[median, value] = short_name(row['config'])
    for backend, marker in MARKERS.items():
        if any(t['backend'] == backend for r in rows for t in r['latency']):
            axis.plot([], [], marker, color='grey', label=backend)
    for name, color in (('RF-DETR', 'C0'), ('other models', 'C1')):
        axis.plot([], [], lw=4, color=color, label=name)
    axis.legend()
    axis.set(
        xlabel='milliseconds per image (median, lowest to highest)',
        ylabel='AP' if has_ap else 'GFLOP per image',
        xscale='log',
        yscale='linear' if has_ap else 'log',
    )
    for one in [axis.xaxis] if has_ap else [axis.xaxis, axis.yaxis]:
        one.set_major_locator(LogLocator(subs=(1, 2, 5)))
        one.set_major_formatter('{x:g}')
        one.set_minor_formatter(NullFormatter())
    axis.margins(x=0.3, y=0.15)
    axis.grid(alpha=0.3, which='both')
    figure.tight_layout()
    _write_names(figure, axis, points)
    return figure


def _write_names(
    figure: plt.Figure, axis: plt.Axes, points: Mapping[tuple, str]
) -> None:
    """Name points above them, or below where something is there already."""
    taken: list[Any] = []
    pixels = axis.transData.transform(list(points))
    for point, name in points.items():
        for offset in (8, -14):
            text = axis.annotate(
                name,
                point,
                xytext=(0, offset),
                textcoords='offset points',
                ha='center',
                fontsize=7,
            )
            box = text.get_window_extent(figure.canvas.get_renderer())
            is_free = not any(box.overlaps(other) for other in taken)
            if is_free and not any(box.contains(*pixel) for pixel in pixels):
                break
            if offset > 0:
                text.remove()
        taken.append(box)
