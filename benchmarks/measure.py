"""Measure the rows of docs/benchmark.md here: ``make benchmarks``.

Every entry of the plan is a call of compare_upstream.py that writes a file
into docs/benchmarks. Entries that were measured today on this kind of
processor with this commit are left out, so that a run that was ended goes on.
At the end the tables of docs/benchmark.md are written again.
"""

import argparse
import datetime
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from clone import ROOT
from options import parser, positive
from paired_rounds import say
from plan import PLAN, Entry
from records import FOLDER, commit_here, processor_here, read_records
from render_records import render_page


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    given = parser('Measure the rows of docs/benchmark.md')
    add = given.add_argument
    for name in ('variant', 'row'):
        values = list(dict.fromkeys(getattr(one, name) for one in PLAN))
        add(f'--{name}s', nargs='+', choices=values, default=values)
    add('--rounds', type=positive, help="instead of the plan's")
    add('--again', action='store_true', help='also what today has already')
    add('--list', action='store_true', help='only say what would be measured')
    return given.parse_args(argv)


def wanted(args: argparse.Namespace) -> list[Entry]:
    """What of the plan is to be measured."""
    today, kind = datetime.date.today().isoformat(), processor_here()
    key = (kind, today, commit_here())
    done = {
        one['entry']
        for one in read_records(FOLDER)
        if (one['processor'], one['date'], one['commit']) == key
    }
    return [
        entry
        for entry in PLAN
        if entry.variant in args.variants and entry.row in args.rows
        if args.again or entry.name not in done
    ]


def command_of(entry: Entry, rounds: int | None = None) -> list[str]:
    """Arguments of Python, in this clone, that measure an entry."""
    script = Path(__file__).with_name('compare_upstream.py')
    command = [
        script.relative_to(ROOT).as_posix(),
        '--variant',
        entry.variant,
        '--rows',
        entry.row,
        '--rounds',
        str(rounds or entry.rounds),
        '--record',
        FOLDER.relative_to(ROOT).as_posix(),
    ]
    if entry.batch_size != 2:
        command += ['--batch-size', str(entry.batch_size)]
    return command


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write the records and the page.

    Raises:
        SystemExit: With what failed, at the end, after all others.
    """
    args = parse_args(argv)
    failed = []
    for entry in wanted(args):
        command = command_of(entry, args.rounds)
        say(f'=== {" ".join(command)}')
        if args.list:
            continue
        start = time.monotonic()
        # Python's warnings of other packages fill the screen.
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', *command], cwd=ROOT
        )
        say(f'=== {entry.name}: {time.monotonic() - start:.0f} s')
        if done.returncode:
            failed.append(entry.name)
    if not args.list:
        render_page()
    if failed:
        raise SystemExit(f'these failed: {", ".join(failed)}')


if __name__ == '__main__':
    main()
