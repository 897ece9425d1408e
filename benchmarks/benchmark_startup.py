"""Measure how long the command ``rfdetr-mm`` takes to start.

``python benchmarks/benchmark_startup.py`` prints a row for the help
of the command and of each subcommand, for ``info`` and for ``import
rfdetr_mm``: the median and the slowest of some warm starts in seconds, after
one that is not counted, and the median of the processor's time. Each start is
a process of its own.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from clone import ROOT

# isort: split
from rfdetr_mm_light.command_line.main import command_names  # noqa: E402

_COMMAND = ('-m', 'rfdetr_mm_light')


def start_seconds(arguments: Sequence[str]) -> tuple[float, float]:
    """Start Python once.

    Args:
        arguments: What Python is given.

    Returns:
        Seconds that passed, and seconds of processor time.

    Raises:
        SystemExit: If it fails.
    """
    paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f'python {" ".join(arguments)} failed:\n{done.stderr}')
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--runs', type=int, default=10, help='starts that count (default: 10)'
    )
    parser.add_argument(
        '--no-import',
        action='store_true',
        help='leave out import rfdetr_mm, which takes seconds',
    )
    args = parser.parse_args(argv)
    rows = {'rfdetr-mm --help': (*_COMMAND, '--help')}
    for name in command_names():
        rows[f'rfdetr-mm {name} --help'] = (*_COMMAND, name, '--help')
    rows['rfdetr-mm info'] = (*_COMMAND, 'info')
    if not args.no_import:
        rows['import rfdetr_mm'] = ('-c', 'import rfdetr_mm')
    print(
        '| start | median s | slowest s | processor s |\n|---|---:|---:|---:|'
    )
    for name, arguments in rows.items():
        start_seconds(arguments)
        walls, cpus = zip(
            *(start_seconds(arguments) for _ in range(args.runs))
        )
        print(
            f'| `{name}` | {statistics.median(walls):.2f} '
            f'| {max(walls):.2f} | {statistics.median(cpus):.2f} |',
            flush=True,
        )


if __name__ == '__main__':
    main()
