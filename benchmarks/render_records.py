"""Write the tables of docs/benchmark.md from docs/benchmarks.

``render_records.py`` replaces what is between two markers of the page;
``--check`` only says whether that is up to date.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from clone import ROOT
from plan import PLAN, Entry
from records import FOLDER, read_records, slug
from report import percent, table
from upstream import CLASS_NAMES

PAGE = ROOT / 'docs' / 'benchmark.md'
BEGIN = '<!-- Below: benchmarks/render_records.py. Do not edit. -->'
END = '<!-- Above: benchmarks/render_records.py. Do not edit. -->'
NOT_RUN = 'not run'
HEAD = (
    'Row',
    'rfdetr_mm',
    'rfdetr',
    'Ratio (low to high)',
    'Upper quartile',
    'Rounds',
    'GFLOP: ours, rfdetr',
    'Of the matmul peak',
    'Aim',
    'Date',
)
LONG = 10.0  # seconds; longer ones are not given in milliseconds
Record = Mapping[str, Any]


def amounts(medians: Sequence[float], unit: str) -> list[str]:
    """Medians of a row, in one unit.

    Args:
        medians: In seconds for the units 'ms' and 's', else in the unit.
        unit: 'ms' is of short works; long ones are given in seconds.
    """
    if unit == 'ms':
        unit = 's' if max(medians) >= LONG else 'ms'
        medians = [x * 1000 if unit == 'ms' else x for x in medians]
    return [
        f'{x:.0f} {unit}' if x >= 100 else f'{x:.3g} {unit}' for x in medians
    ]


def ratio_of(values: Mapping[str, float]) -> str:
    """A ratio, bold where rfdetr is ahead, with its extremes if known."""
    text = f'{values["median"]:.3f}'
    if values['median'] > 1:
        text = f'**{text}**'
    if 'low' in values:
        text += f' ({values["low"]:.3f} to {values["high"]:.3f})'
    return text


def line_of(row: Record, record: Record, aim: str) -> list[str]:
    """The cells of a row of a record."""
    sides = [row['sides'][name] for name in ('rfdetr_mm', 'rfdetr')]
    upper = row['ratio'].get('upper_quartile')
    flops = shares = ''
    if row.get('flops') and record.get('matmul_peak'):
        counts = [row['flops'][name] for name in ('rfdetr_mm', 'rfdetr')]
        flops = ', '.join(f'{count / 1e9:.4g}' for count in counts)
        shares = ', '.join(
            percent(count / side['median'] / record['matmul_peak'])
            for count, side in zip(counts, sides)
        )
    return [
        row['what'],
        *amounts([side['median'] for side in sides], row['unit']),
        ratio_of(row['ratio']),
        '' if upper is None else f'{upper:.3f}',
        '' if row.get('rounds') is None else str(row['rounds']),
        flops,
        shares,
        aim,
        record['date'],
    ]


def lines_of(entry: Entry, records: Sequence[Record]) -> list[list[str]]:
    """The newest lines of an entry on one kind of processor.

    Args:
        entry: One of the plan.
        records: The records of the processor, the newest first.
    """
    for record in records:
        if record['entry'] != entry.name:
            continue
        if record['rows']:
            return [
                line_of(row, record, entry.aims.get(row['what'], ''))
                for row in record['rows']
            ]
        why = f'{NOT_RUN}: {record["skipped"]}'
        return [_bare_line(entry, why, record['date'])]
    return [_bare_line(entry, NOT_RUN, '')]


def _bare_line(entry: Entry, why: str, date: str) -> list[str]:
    """The cells of an entry without numbers."""
    what, aim = next(iter(entry.aims.items()), (entry.row, ''))
    return [what, why, *[''] * 6, aim, date]


def machine_sentences(records: Sequence[Record]) -> str:
    """On what the records were measured, once for each machine."""
    found = {}
    for record in records:
        facts = record['machine']
        packages = ', '.join(f'{k} {v}' for k, v in facts['packages'].items())
        peak = record.get('matmul_peak')
        sentence = f'{facts["cores"]} cores, {facts["threads"]} threads'
        if packages:
            sentence += f'; {packages}'
        found.setdefault(sentence + '.', []).append(peak)
    lines = []
    for sentence, peaks in found.items():
        known = sorted(peak / 1e9 for peak in peaks if peak)
        if known:
            ends = dict.fromkeys(f'{known[i]:.0f}' for i in (0, -1))
            sentence += f' Matrix products reach {" to ".join(ends)} GFLOP/s.'
        lines.append(sentence)
    notes = dict.fromkeys(r['note'] for r in records if r.get('note'))
    return ' '.join([*lines, *notes])


def section(kind: str, records: Sequence[Record]) -> Iterator[str]:
    """Paragraphs and tables of one kind of processor.

    Args:
        kind: What it is called.
        records: Its records, the newest first.
    """
    yield f'#### {kind}'
    yield machine_sentences(records)
    groups = groupby(PLAN, key=lambda e: (e.variant, e.batch_size))
    for (variant, batch_size), entries in groups:
        title = f'{CLASS_NAMES[variant]}, batch {batch_size}'
        lines = [
            line for entry in entries for line in lines_of(entry, records)
        ]
        if all(line[1] == NOT_RUN for line in lines):
            yield f'{title}: {NOT_RUN}.'
            continue
        yield f'{title}:'
        yield table(HEAD, lines)
    earlier = list(_earlier_lines(records))
    if earlier:
        yield 'Earlier runs:'
        yield table(HEAD, earlier)
    yield from growth_of(kind, records)


def _earlier_lines(records: Sequence[Record]) -> Iterator[list[str]]:
    """The first line of each record that a newer one has replaced."""
    met = set()
    for record in records:
        if record['entry'] in met and record.get('rows'):
            line = line_of(record['rows'][0], record, '')
            name = CLASS_NAMES[record['variant']]
            yield [f'{name}: {line[0]}', *line[1:]]
        met.add(record['entry'])


def growth_of(kind: str, records: Sequence[Record]) -> Iterator[str]:
    """Exponents and picture of the newest record of growth.py."""
    for record in records:
        if record['entry'] == 'growth':
            from growth_report import exponents_table, faster_growth

            yield f'How a training step grows, {record["date"]}:'
            yield exponents_table(record)
            yield from faster_growth(record)
            picture = f'images/growth_{slug(kind)}.png'
            yield f'![Step time and memory of both sides]({picture})'
            return


def tables(folder: Path = FOLDER) -> str:
    """All tables: the processor that was measured last comes first."""
    records = read_records(folder)
    kinds = list(dict.fromkeys(record['processor'] for record in records))
    parts = [
        part
        for kind in kinds
        for part in section(
            kind, [one for one in records if one['processor'] == kind]
        )
    ]
    return '\n\n'.join(parts)


def page_with(text: str, new: str) -> str:
    """Replace what is between the markers of a page.

    Raises:
        SystemExit: If the page does not have both of them, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(
            f'{PAGE.name} must have the lines\n{BEGIN}\n{END}\nbetween which '
            'the tables are written'
        )
    return f'{before}{BEGIN}\n\n{new}\n\n{END}{after}'


def render_page(check: bool = False) -> None:
    """Write the tables into docs/benchmark.md.

    Args:
        check: Only compare.

    Raises:
        SystemExit: If that is asked for and the page is another one.
    """
    text = PAGE.read_text(encoding='utf-8')
    new = page_with(text, tables())
    if check and new != text:
        raise SystemExit(
            'docs/benchmark.md does not have the numbers of docs/benchmarks: '
            'python benchmarks/render_records.py'
        )
    if not check:
        PAGE.write_text(new, encoding='utf-8')


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description='Tables of benchmark.md')
    parser.add_argument(
        '--check', action='store_true', help='write nothing, only compare'
    )
    render_page(parser.parse_args(argv).check)


if __name__ == '__main__':
    main()
