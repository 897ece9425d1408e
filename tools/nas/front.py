"""The accuracy-latency front of measured sub-networks, as files."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

from rfdetr_mm.models import Subnet

matplotlib.use('Agg')

from matplotlib import pyplot as plt  # noqa: E402


@dataclass(frozen=True)
class Measurement:
    """A point of the search space and what it is worth.

    Attributes:
        nominal: The point as the search space lists it.
        latency_ms: Median time of one image in ms.
        metrics: Metrics of the validation set by the evaluator's names; None
            if the point was too slow to be evaluated.
    """

    nominal: Subnet
    latency_ms: float
    metrics: Mapping[str, float] | None

    @property
    def real(self) -> Subnet:
        """The point at the image size that was measured."""
        return self.nominal.rounded()

    def row(self, metric: str) -> dict[str, Any]:
        """Everything as one flat row.

        Args:
            metric: Name of the metric that was searched for; in points.
        """
        height, width = self.real.resolution
        metrics = {f'{k}': v for k, v in (self.metrics or {}).items()}
        return {
            'subnet': str(self.real),
            'nominal_height': self.nominal.resolution[0],
            'nominal_width': self.nominal.resolution[1],
            'height': height,
            'width': width,
            'patch_size': self.real.patch_size,
            'num_windows': self.real.num_windows,
            'num_decoder_layers': self.real.num_decoder_layers,
            'num_queries': self.real.num_queries,
            'latency_ms': self.latency_ms,
            'ap': None if self.metrics is None else 100 * metrics[metric],
            **metrics,
        }


def pareto_front(pairs: Sequence[tuple[float, float]]) -> list[int]:
    """Find the points that no other one beats in both respects.

    Args:
        pairs: Latency (less is better) and accuracy (more is better).

    Returns:
        Indices of those for which no other point is as fast and more
        accurate, or faster and as accurate; by ascending latency. Of equal
        points the first.
    """
    order = sorted(
        range(len(pairs)), key=lambda i: (pairs[i][0], -pairs[i][1], i)
    )
    front, best = [], float('-inf')
    for i in order:
        if pairs[i][1] > best:
            front.append(i)
            best = pairs[i][1]
    return front


def front_of(measured: Sequence[Measurement], metric: str) -> list[int]:
    """Indices of the evaluated measurements on the front, fastest first."""
    evaluated = [i for i, m in enumerate(measured) if m.metrics is not None]
    pairs = [
        (measured[i].latency_ms, measured[i].metrics[metric])
        for i in evaluated
    ]
    return [evaluated[i] for i in pareto_front(pairs)]


def write_results(
    measured: Sequence[Measurement],
    metric: str,
    about: Mapping[str, Any],
    folder: Path,
) -> list[int]:
    """Write results.json, results.csv, front.md and front.png.

    Args:
        measured: All measured points.
        metric: The evaluator's name of what was searched for.
        about: How they were measured; goes into the JSON file and the
            table.
        folder: The folder to write to; it is made if missing.

    Returns:
        Indices of the front, fastest first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    front = front_of(measured, metric)
    rows = [
        {**m.row(metric), 'on_front': i in set(front)}
        for i, m in enumerate(measured)
    ]
    content = dict(about=dict(about), metric=metric, points=rows)
    (folder / 'results.json').write_text(json.dumps(content, indent=1))
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / 'results.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    table = _table([rows[i] for i in front], about)
    (folder / 'front.md').write_text(table)
    _draw(rows, metric, about, folder / 'front.png')
    return front


def _table(rows: Sequence[Mapping], about: Mapping[str, Any]) -> str:
    lines = [
        '| Sub-network | Input, H x W | (nominal) | Patch | Windows | Layers '
        '| Queries | Latency (ms) | AP |',
        '| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
    ]
    lines += [
        f'| `{r["subnet"]}` | {r["height"]} x {r["width"]} '
        f'| {r["nominal_height"]} x {r["nominal_width"]} '
        f'| {r["patch_size"]} | {r["num_windows"]} '
        f'| {r["num_decoder_layers"]} | {r["num_queries"]} '
        f'| {r["latency_ms"]:.2f} | {r["ap"]:.2f} |'
        for r in rows
    ]
    lines += ['', ', '.join(f'{k}: {v}' for k, v in about.items()), '']
    return '\n'.join(lines)


def _draw(
    rows: Sequence[Mapping],
    metric: str,
    about: Mapping[str, Any],
    path: Path,
) -> None:
    rows = [row for row in rows if row['ap'] is not None]
    front = sorted(
        (row for row in rows if row['on_front']),
        key=lambda row: row['latency_ms'],
    )
    figure, axes = plt.subplots(figsize=(8, 5))
    axes.scatter(
        [row['latency_ms'] for row in rows],
        [row['ap'] for row in rows],
        s=12,
        c=[row['num_decoder_layers'] for row in rows],
        cmap='viridis',
    )
    axes.plot(
        [row['latency_ms'] for row in front],
        [row['ap'] for row in front],
        'o-',
        color='tab:red',
        markersize=5,
        drawstyle='steps-post',
        label=f'front ({len(front)} of {len(rows)} sub-networks)',
    )
    axes.set_xlabel(
        f'latency in ms: {about.get("backend")}, {about.get("device")}'
    )
    axes.set_ylabel(f'{metric}, points')
    axes.set_title('brighter: more decoder layers', fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
