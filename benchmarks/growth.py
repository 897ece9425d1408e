"""How a training step grows, beside rfdetr 1.11.2: ``growth.py``.

Step time and peak memory of Nano against the side of the image, the batch,
the objects of an image, the classes and the queries, one of them changed at a
time. Both sides hold the same weights and take turns in every round; every
point is measured in processes of its own. growth.json, growth.md and
growth.png are written after every point, and a run with the same ``--out``
goes on where the last one was. Needs ``pip install "rfdetr[train]==1.11.2"``.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import clone  # noqa: F401  first: this clone's package and tools
from run_config import stop  # noqa: E402

# isort: split
from growth_report import markdown, plot  # noqa: E402
from options import parser, positive  # noqa: E402
from paired_rounds import (  # noqa: E402
    call_alone,
    machine,
    paired_rounds,
    ratio,
    say,
    spread,
)
from records import (  # noqa: E402
    FOLDER,
    processor_here,
    slug,
    write_record,
)
from report import publish, write  # noqa: E402
from sides import (  # noqa: E402
    SIDES,
    Ours,
    PhaseClock,
    Upstream,
    peak_of,
)
from upstream import Dimensions, check_installed  # noqa: E402

VARIANT = 'nano'
BASE = MappingProxyType(
    dict(image=384, batch=2, objects=8, classes=80, queries=300)
)


@dataclass(frozen=True)
class Axis:
    """What is changed, and what stands still at another value meanwhile.

    Args:
        values: From the smallest to the largest.
        other: Changes of ``BASE`` for all points of the axis: a feature map
            has one cell for each query at least, as rfdetr's groups lose
            their alignment with fewer.
    """

    values: tuple[int, ...]
    other: Mapping[str, int] = field(default_factory=dict)


AXES = {
    'image': Axis((192, 256, 320, 416, 544, 704), dict(queries=100)),
    'batch': Axis((1, 2, 4, 8, 16)),
    'objects': Axis((0, 2, 8, 30, 100, 300)),
    'classes': Axis((1, 10, 80, 300, 1000)),
    'queries': Axis((50, 100, 200, 300, 500, 900), dict(image=512)),
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    given = parser('See how a training step grows, beside rfdetr 1.11.2')
    add = given.add_argument
    add('--axes', nargs='+', choices=AXES, default=list(AXES))
    add('--rounds', type=positive, default=3, help='timed, one before')
    add('--no-memory', action='store_true', help='times alone')
    add(
        '--memory-runs',
        type=positive,
        default=1,
        help='processes of each side for a point; their median counts',
    )
    add(
        '--limit',
        type=float,
        help='minutes after which no other point is measured',
    )
    add('--out', type=Path, default=Path('work_dirs/growth'))
    add(
        '--record',
        action='store_true',
        help='also for docs/benchmark.md: docs/benchmarks and docs/images',
    )
    return given.parse_args(argv)


def setting(axis: str, value: int) -> dict[str, int]:
    """All five numbers of a point."""
    return {**BASE, **AXES[axis].other, axis: value}


def dimensions_of(point: Mapping[str, int]) -> dict[str, int]:
    """What a setting changes about the variant: all but the batch."""
    found = {name: value for name, value in point.items() if name != 'batch'}
    return dict(found, size=found.pop('image'))


def times_of(point: Mapping[str, int], rounds: int) -> dict[str, list[float]]:
    """Seconds of training steps of both sides, turn by turn.

    Args:
        point: See :func:`setting`.
        rounds: How many rounds are timed.

    Returns:
        Seconds of each round, by side.
    """
    changed = dict(dimensions=Dimensions(**dimensions_of(point)))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / 'weights.pth'
        upstream = Upstream(VARIANT, **changed)
        upstream.save(weights)
        ours = Ours(VARIANT, weights, **changed)
    # With a clock, gradients are freed before it is the other one's turn.
    steps = [
        one.train_step(point['batch'], PhaseClock())
        for one in (ours, upstream)
    ]
    return paired_rounds(dict(zip(SIDES, steps)), rounds, say)


class Growth:
    """The points of a report, as they are measured.

    Args:
        args: The command line.

    Raises:
        SystemExit: If the folder has a report of another machine.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.content: dict[str, Any] = dict(
            command=' '.join(sys.argv),
            machine=machine(),
            points=[],
            skipped={},
        )
        path = args.out / 'growth.json'
        if path.is_file():
            before = json.loads(path.read_text())
            for name in ('cpu', 'threads', 'packages'):
                if before['machine'][name] != self.content['machine'][name]:
                    stop(
                        f'{path} was measured with another machine.{name}: '
                        f'{before["machine"][name]}; choose another --out'
                    )
            self.content['points'] = before['points']
        self.content['axes'] = {
            name: list(AXES[name].values)
            for name in AXES
            if name in args.axes
            or any(name in one['axes'] for one in self.content['points'])
        }
        self._end = None
        if args.limit is not None:
            self._end = time.monotonic() + 60 * args.limit

    def point(self, axis: str, value: int) -> dict[str, Any]:
        """The entry of a point, new or the one that is there."""
        wanted = setting(axis, value)
        points = self.content['points']
        found = next((p for p in points if p['setting'] == wanted), None)
        if found is None:
            found = dict(setting=wanted, axes=[], time=None, memory=None)
        return found

    def run(self) -> None:
        """Measure what is not measured yet."""
        parts = dict(time=self._time, memory=self._memory)
        if self.args.no_memory:
            del parts['memory']
        for axis in self.content['axes']:
            if axis not in self.args.axes:
                continue
            for value in AXES[axis].values:
                point = self.point(axis, value)
                if axis not in point['axes']:
                    point['axes'].append(axis)
                for part, how in parts.items():
                    self._measure(point, f'{axis} {value}', part, how)

    def _measure(
        self,
        point: dict[str, Any],
        name: str,
        part: str,
        how: Callable[[Mapping[str, int]], dict[str, Any]],
    ) -> None:
        """Fill one part of a point in and write the report."""
        if point[part] is None:
            if self._end is not None and time.monotonic() >= self._end:
                self.content['skipped'][name] = (
                    f'the {self.args.limit:g} minutes were over'
                )
                return
            say(f'--- {name}, {part}')
            try:
                point[part] = how(point['setting'])
            except RuntimeError as error:
                reason = ' '.join(str(error).split())
                self.content['skipped'][f'{name}, {part}'] = reason
                return
        if point not in self.content['points']:
            self.content['points'].append(point)
        write(self.args.out, *self.report())

    def _time(self, point: Mapping[str, int]) -> dict[str, Any]:
        seconds = call_alone(times_of, dict(point), self.args.rounds)
        return dict(
            sides={side: spread(seconds[side]) for side in SIDES},
            ratio=ratio(*(seconds[side] for side in SIDES)),
            rounds=seconds,
        )

    def _memory(self, point: Mapping[str, int]) -> dict[str, Any]:
        changed, batch = dimensions_of(point), point['batch']
        beyond: dict[str, list[float]] = {side: [] for side in SIDES}
        for side in SIDES * self.args.memory_runs:
            before, peak = call_alone(peak_of, side, VARIANT, batch, changed)
            beyond[side].append(peak - before)
        return dict(
            sides={side: spread(beyond[side]) for side in SIDES},
            ratio=ratio(*(beyond[side] for side in SIDES)),
            rounds=beyond,
        )

    def report(self) -> tuple[Any, ...]:
        """Name, content, text and picture of the report."""
        content = self.content
        return 'growth', content, markdown(content), plot(content)


def record(content: Mapping[str, Any]) -> None:
    """Keep the points, without single rounds, and the picture in docs."""
    points = [
        {
            name: {k: v for k, v in part.items() if k != 'rounds'}
            if name in ('time', 'memory') and part
            else part
            for name, part in point.items()
        }
        for point in content['points']
    ]
    path = write_record(FOLDER, 'growth', dict(content, points=points))
    picture = f'growth_{slug(processor_here())}.png'
    plot(content).savefig(path.parents[2] / 'images' / picture, dpi=80)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, write the report and return its content."""
    args = parse_args(argv)
    check_installed()
    growth = Growth(args)
    growth.run()
    publish(args.out, *growth.report())
    if args.record:
        record(growth.content)
    return growth.content


if __name__ == '__main__':
    main()
