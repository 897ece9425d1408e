"""Measure how long the command ``rfdetr-mm`` takes to start.

``python benchmarks/benchmark_startup.py`` prints a row for the help
of the command and of each subcommand, for ``info`` and for ``import
rfdetr_mm``: the median and the slowest of some warm starts in seconds, after
one that is not counted, and the median of the processor's time. Each start is
a process of its own.
"""

import resource
import time
from collections.abc import Sequence
from functools import partial

import clone  # noqa: F401  first: this clone's package and tools
import numpy as np
from options import parser, positive
from paired_rounds import paired_rounds, run_alone, say
from report import table

from rfdetr_mm_light.command_line.main import command_names


def wall_and_cpu() -> np.ndarray:
    """Now, and the processor time of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.perf_counter(), used.ru_utime + used.ru_stime])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table."""
    given = parser(__doc__.split('\n')[0])
    given.add_argument(
        '--runs', type=positive, default=10, help='starts that count'
    )
    given.add_argument(
        '--no-import',
        action='store_true',
        help='leave out import rfdetr_mm, which takes seconds',
    )
    args = given.parse_args(argv)
    commands = [
        ['--help'],
        *([x, '--help'] for x in command_names()),
        ['info'],
    ]
    rows = {
        ' '.join(['rfdetr-mm', *words]): ['-m', 'rfdetr_mm_light', *words]
        for words in commands
    }
    if not args.no_import:
        rows['import rfdetr_mm'] = ['-c', 'import rfdetr_mm']
    works = {name: partial(run_alone, words) for name, words in rows.items()}
    times = paired_rounds(works, args.runs, say, wall_and_cpu)
    head = ['start', 'median s', 'slowest s', 'processor s']
    lines = []
    for name, starts in times.items():
        wall, cpu = np.median(starts, axis=0)
        slowest = np.max(starts, axis=0)[0]
        numbers = (f'{x:.2f}' for x in (wall, slowest, cpu))
        lines.append([f'`{name}`', *numbers])
    print(table(head, lines))


if __name__ == '__main__':
    main()
