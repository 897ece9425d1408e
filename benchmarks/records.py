"""Measured rows as files: ``docs/benchmarks/PROCESSOR/DATE_ENTRY.json``.

A file has the rows that one entry of a plan gave on one kind of processor:
medians, quartiles, extremes and ratios, the machine, the versions, the
command, the commit and the date. ``render_records.py`` makes tables of them.
"""

import datetime
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clone import ROOT

FOLDER = ROOT / 'docs' / 'benchmarks'
# Units that decide what is fast, as Linux and as people name them.
UNITS = (
    ('avx512f', 'AVX-512'),
    ('avx512_vnni', 'VNNI'),
    ('avx512_bf16', 'BF16'),
    ('amx_tile', 'AMX'),
    ('sve', 'SVE'),
    ('bf16', 'BF16'),
)


def processor_kind(cpu: str, flags: Sequence[str]) -> str:
    """What a processor is called, with its units.

    Args:
        cpu: Its name in /proc/cpuinfo.
        flags: Its flags there.

    Returns:
        For people, such as 'Intel Xeon (AVX-512, VNNI, BF16, AMX)'.
    """
    name = re.sub(r'\((R|TM|r|tm)\)|@.*|\b(CPU|Processor)\b', ' ', cpu)
    units = dict.fromkeys(word for flag, word in UNITS if flag in flags)
    name = ' '.join(name.split())
    return f'{name} ({", ".join(units)})' if units else name


def processor_here(facts: Path = Path('/proc/cpuinfo')) -> str:
    """The kind of this machine's processor."""
    from paired_rounds import cpu_name

    text = facts.read_text() if facts.is_file() else ''
    return processor_kind(cpu_name(), text.split())


def slug(text: str) -> str:
    """A text as part of a file's name."""
    return re.sub('[^a-z0-9]+', '-', text.lower()).strip('-')


def commit_here() -> str | None:
    """The commit of this clone; None without git.

    Where files outside ``docs`` are changed, '+changes' is behind it.
    """
    commands = (
        ['rev-parse', '--short=10', 'HEAD'],
        ['status', '--porcelain', '--', '.', ':!docs'],
    )
    said = []
    for command in commands:
        try:
            done = subprocess.run(
                ['git', '-C', str(ROOT), *command],
                capture_output=True,
                text=True,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        said.append(done.stdout.strip())
    return said[0] + ('+changes' if said[1] else '')


def write_record(folder: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write a record of today and of this processor.

    Args:
        folder: Holds a folder for each kind of processor.
        name: One of ``plan.PLAN``, or 'growth'; a file of today is replaced.
        content: What is in it besides; without the values of single rounds.

    Returns:
        The file.
    """
    kind, date = processor_here(), datetime.date.today().isoformat()
    command = content['command'].replace(f'{ROOT}/', '')
    record = dict(
        processor=kind,
        date=date,
        commit=commit_here(),
        **dict(content, command=command),
    )
    path = folder / slug(kind) / f'{date}_{name}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + '\n')
    return path


def rows_record(
    content: Mapping[str, Any], variant: str, batch_size: int, row: str
) -> dict[str, Any]:
    """What is kept of a report of compare_upstream.py for one entry.

    Args:
        content: The report.
        variant: See :class:`plan.Entry`.
        batch_size: See :class:`plan.Entry`.
        row: See :class:`plan.Entry`.

    Returns:
        The record's content; without rows it has the reason in ``skipped``.
    """
    kept = [
        {key: one[key] for key in ('what', 'unit', 'sides', 'ratio', 'flops')}
        | dict(rounds=len(one['rounds']['rfdetr_mm']))
        for one in content['rows']
        if one['row'] == row
    ]
    return dict(
        command=content['command'],
        machine=content['machine'],
        matmul_peak=content['matmul_peak'],
        variant=variant,
        batch_size=batch_size,
        row=row,
        skipped=content['skipped'].get(row),
        rows=kept,
    )


def read_records(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """All records, the newest first.

    Each has the name of its entry, or 'growth', as ``entry``.

    Raises:
        SystemExit: If a file is not a record, with its path.
    """
    found = []
    for path in folder.glob('*/*.json'):
        try:
            record = json.loads(path.read_text())
            entry = path.stem.partition('_')[2]
            found.append(dict(record, entry=entry))
            record['processor'], record['date']
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(f'{path} is not a record: {error!r}') from error
    return sorted(found, key=lambda one: one['date'], reverse=True)
