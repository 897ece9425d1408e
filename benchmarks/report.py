"""The one writer of reports: JSON, Markdown and a picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first column to the left."""
    lines = [head, [':---', *['---:'] * (len(head) - 1)], *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def span(values: Mapping[str, float], form: str, scale: float = 1.0) -> str:
    """Write a median with the lowest and the highest value.

    Args:
        values: ``median``, ``low`` and ``high``.
        form: Format of each number, such as '.1f'.
        scale: Factor of each number, 1000 for milliseconds of seconds.
    """
    names = ('median', 'low', 'high')
    median, low, high = (format(scale * values[n], form) for n in names)
    return f'{median} ({low} to {high})'


def ratio_cell(ratio: Mapping[str, float]) -> str:
    """A ratio of both sides, its median bold."""
    median, _, rest = span(ratio, '.3f').partition(' ')
    return f'**{median}** {rest}'


def or_dash(value: float | None, form: str) -> str:
    """A number, or a dash where there is none."""
    return '—' if value is None else format(value, form)


def percent(share: float | None, form: str = '.0f') -> str:
    """A share of 1 in percent, or a dash where there is none."""
    return '—' if share is None else f'{100 * share:{form}} %'


def verdict(ahead: Sequence[str]) -> str:
    """Say in a sentence where rfdetr is ahead."""
    if not ahead:
        return 'Nowhere is rfdetr ahead.'
    return 'rfdetr is ahead in: ' + '; '.join(ahead) + '.'


def machine_line(found: Mapping[str, Any]) -> str:
    """Say in a sentence what :func:`paired_rounds.machine` found."""
    packages = ', '.join(f'{k} {v}' for k, v in found['packages'].items())
    return (
        f'{found["cpu"]}, {found["cores"]} cores, {found["threads"]} threads, '
        f'load {found["load_before"]:.1f} before the start; Python '
        f'{found["python"]}, {packages}.'
    )


def page(content: Mapping[str, Any], *parts: str) -> str:
    """The text of a report.

    Args:
        content: A dict with the ``command`` and the ``machine``; what was
            ``skipped`` and why, if anything was.
        *parts: Paragraphs and tables.
    """
    skipped = content.get('skipped', {}).items()
    parts = (
        f'`{content["command"]}`',
        machine_line(content['machine']),
        *parts,
        *(f'Left out: {what}: {why}' for what, why in skipped),
    )
    return '\n\n'.join(parts) + '\n'


def write(
    out: Path,
    name: str,
    content: Mapping[str, Any],
    text: str,
    figure: 'Figure | None' = None,
) -> None:
    """Write the files of a report.

    Args:
        out: Their folder, which is made.
        name: Their name without suffix.
        content: Content of the JSON file.
        text: Text of the Markdown file.
        figure: The picture; None for no picture.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / f'{name}.json').write_text(json.dumps(content, indent=1))
    (out / f'{name}.md').write_text(text)
    if figure is not None:
        figure.savefig(out / f'{name}.png', dpi=120)


def publish(out: Path, *files: Any) -> None:
    """Write a report and print it.

    Args:
        out: See :func:`write`.
        *files: The other arguments of :func:`write`.
    """
    write(out, *files)
    print(files[2])
    print(f'Report in {out}')
