"""Writing a report: one page, one JSON file, and tables as CSV."""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rfdetr_mm.evaluation.analysis import Analysis
from rfdetr_mm.version import __version__
from rfdetr_mm_light.files import atomic_file

from .folder import FORMAT, JSON_FILE, PAGE_FILE, VERSION, check_folder
from .page import build_page
from .pictures import picture_of

Row = Sequence[Any]


def write_report(
    analyses: Sequence[Analysis],
    folder: str | os.PathLike[str],
    title: str,
    against: Mapping[str, Any] | None = None,
    speed: Mapping[str, Any] | None = None,
) -> Path:
    """Write a report.

    Args:
        analyses: One for each of boxes, masks and keypoints that there are.
        folder: See :func:`check_folder`.
        title: What was evaluated on what.
        against: An earlier report to compare with, see
            :func:`check_against`.
        speed: How long the model takes, and on what.

    Returns:
        The page.

    Raises:
        InputError: If the folder cannot be used.
    """
    folder = check_folder(folder)
    content = dict(
        format=FORMAT,
        version=VERSION,
        rfdetr_mm=__version__,
        title=title,
        kinds={one.numbers['kind']: one.numbers for one in analyses},
        speed=dict(speed) if speed else None,
    )
    pictures = {
        one.numbers['kind']: {
            group: [
                picture_of(
                    one.scene, fact, group, one.numbers['best']['threshold']
                )
                for fact in facts
            ]
            for group, facts in one.numbers['examples'].items()
        }
        for one in analyses
    }
    page = build_page(content, pictures, against)
    files = {PAGE_FILE: page}
    for kind, numbers in content['kinds'].items():
        for name, rows in _tables(numbers).items():
            files[f'{kind}_{name}.csv'] = _as_csv(rows)
    # What says that the folder is ours comes last.
    files[JSON_FILE] = json.dumps(content, allow_nan=False)
    for name, text in files.items():
        with atomic_file(folder / name) as file:
            file.write(text.encode())
    return folder / PAGE_FILE


def _tables(numbers: Mapping[str, Any]) -> dict[str, Iterable[Row]]:
    """Name of a CSV file to its rows, the first with the columns' names."""
    classes, f1 = numbers['classes'], numbers['f1']
    curves, errors = numbers['precision_recall'], numbers['errors']
    names = [*classes, 'background']
    bins = numbers['calibration']['bins']
    table = zip(names, numbers['confusion']['table'])
    return dict(
        classes=_class_rows(numbers),
        f1=[
            ['threshold', 'precision', 'recall', 'f1', *classes],
            *zip(
                f1['thresholds'],
                f1['precision'],
                f1['recall'],
                f1['f1'],
                *f1['f1_of_classes'],
            ),
        ],
        precision_recall=[
            ['recall', *curves['precision'], *classes],
            *zip(
                curves['recalls'],
                *curves['precision'].values(),
                *curves['precision_50_of_classes'],
            ),
        ],
        confusion=[
            ['object', *names],
            *([name, *counts] for name, counts in table),
        ],
        errors=[
            ['kind', 'count', 'gain'],
            *(
                [kind, errors['counts'][kind], gain]
                for kind, gain in errors['gains'].items()
            ),
        ],
        calibration=[[*bins[0]], *([*one.values()] for one in bins)],
        examples=_example_rows(numbers),
    )


def _class_rows(numbers: Mapping[str, Any]) -> list[Row]:
    columns = [*numbers['of_classes'][0]]
    overall = {**numbers['overall'], **numbers['best']}
    overall['best_threshold'] = overall.pop('threshold')
    overall.update({'class': 'all', 'objects': numbers['num_objects']})
    rows = (overall, *numbers['of_classes'])
    return [columns, *([row[name] for name in columns] for row in rows)]


def _example_rows(numbers: Mapping[str, Any]) -> list[Row]:
    names = ('file', 'image_id', 'kind', 'class', 'score')
    rows: list[Row] = [['group', *names, 'x', 'y', 'w', 'h']]
    for group, facts in numbers['examples'].items():
        for fact in facts:
            values = [fact.get(name, '') for name in names]
            rows.append([group, *values, *fact['box_xywh_px']])
    return rows


def _as_csv(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()
