"""The page of a report: one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .charts import Line, bar_chart, heat_map, line_chart
from .style import STYLE

Numbers = Mapping[str, Any]
NAMES = dict(bbox='Boxes', segm='Masks', keypoints='Keypoints')
COLUMNS = {
    'objects': 'Objects',
    'AP': 'AP',
    'AP50': 'AP50',
    'AP75': 'AP75',
    'AP_small': 'small',
    'AP_medium': 'medium',
    'AP_large': 'large',
    'AR': 'AR',
    'f1': 'F1',
    'precision': 'precision',
    'recall': 'recall',
    'best_threshold': 'at score',
}
GROUPS = dict(
    misses=(
        'Worst misses',
        'The largest objects that no detection from the threshold on has '
        'found.',
    ),
    false_alarms=(
        'False alarms',
        'The surest detections that are wrong though an object is near.',
    ),
    label_suspects=(
        'Label suspects',
        'Sure detections where no object is: perhaps a label is missing.',
    ),
)
_MAX_IN_TABLE = 25  # classes that the table of confusions shows


def build_page(
    content: Mapping[str, Any],
    pictures: Mapping[str, Mapping[str, Sequence[str | None]]],
    against: Mapping[str, Any] | None = None,
) -> str:
    """Build the page.

    Args:
        content: What ``report.json`` holds.
        pictures: Kind, then group to the pictures of its examples; None
            where an image could not be read.
        against: Content of the report that is compared with.

    Returns:
        HTML.
    """
    title = escape(content['title'])
    body = [f'<h1>{title}</h1>']
    if against is not None:
        body.append(
            '<p class="lead">Compared with <b>'
            f'{escape(against["title"])}</b>: its numbers follow after a '
            'slash, its curves are dashed.</p>'
        )
    for kind, numbers in content['kinds'].items():
        other = (against or {}).get('kinds', {}).get(kind)
        if len(content['kinds']) > 1:
            body.append(f'<h2 class="kind">{NAMES[kind]}</h2>')
        body.append(_section_of(numbers, other, pictures.get(kind, {})))
    body.append(_speed(content.get('speed'), (against or {}).get('speed')))
    body.append(
        f'<footer>rfdetr_mm {escape(content["rfdetr_mm"])}. The same numbers '
        'are in report.json and in the CSV files beside this page.</footer>'
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>{title}</title><style>{STYLE}</style></head>'
        f'<body><main>{"".join(body)}</main></body></html>'
    )


def points(value: float | None) -> str:
    """A number from 0 to 1 in points, a dash for none.

    Args:
        value: The number; -1 or None for none.
    """
    return '–' if value is None or value == -1 else f'{100 * value:.1f}'


def _section_of(
    numbers: Numbers,
    other: Numbers | None,
    pictures: Mapping[str, Sequence[str | None]],
) -> str:
    return ''.join(
        (
            _tiles(numbers, other),
            _notes(numbers),
            _block('Average precision', _table(numbers, other)),
            '<div class="pair">',
            _block('Precision over recall', _recall_chart(numbers, other)),
            _block('F1 by confidence', _f1_chart(numbers, other)),
            _block('What costs AP50', _errors(numbers, other)),
            _block('Calibration', _calibration(numbers, other)),
            '</div>',
            _block('Confusions', _confusion(numbers)),
            '<div class="trio">',
            *_spreads(numbers),
            '</div>',
            *(
                _gallery(group, numbers, pictures.get(group, ()))
                for group in GROUPS
            ),
        )
    )


def _block(title: str, content: str) -> str:
    return f'<section><h2>{title}</h2>{content}</section>'


def _both(value: Any, other: Any, has_other: bool) -> str:
    shown = points(value)
    return f'{shown} <s>/ {points(other)}</s>' if has_other else shown


def _tiles(numbers: Numbers, other: Numbers | None) -> str:
    tiles = []
    for name in ('AP', 'AP50', 'AP75', 'AR'):
        old = other and other['overall'][name]
        shown = _both(numbers['overall'][name], old, other is not None)
        tiles.append((shown, name))
    best = numbers['best']
    old = other and other['best']['f1']
    shown = _both(best['f1'], old, other is not None)
    tiles.append((shown, f'F1 at a score of {best["threshold"]:.2f}'))
    for name in ('images', 'objects', 'detections'):
        tiles.append((f'{numbers[f"num_{name}"]:,}', name))
    items = ''.join(
        f'<div><b>{value}</b><span>{name}</span></div>'
        for value, name in tiles
    )
    return f'<div class="tiles">{items}</div>'


def _notes(numbers: Numbers) -> str:
    """What a reader must know besides, in sentences."""
    notes = []
    if not numbers['num_detections']:
        notes.append('There is no detection: every object counts as missed.')
    if number := numbers['num_non_finite']:
        notes.append(
            f'{number} detections with a box or a score that is not finite '
            'count nowhere.'
        )
    without = [
        row['class'] for row in numbers['of_classes'] if not row['objects']
    ]
    if without:
        notes.append(
            'These classes have no object here and are in no mean: '
            f'{", ".join(without[:20])}.'
        )
    shown = ''.join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return shown


def _table(numbers: Numbers, other: Numbers | None) -> str:
    overall = {
        **numbers['overall'],
        **numbers['best'],
        'best_threshold': numbers['best']['threshold'],
        'objects': numbers['num_objects'],
    }
    rows = [
        (
            'all classes',
            overall,
            other
            and {
                **other['overall'],
                **other['best'],
            },
        )
    ]
    of_other = {
        row['class']: row for row in (other['of_classes'] if other else ())
    }
    for row in sorted(
        numbers['of_classes'], key=lambda row: row['AP'], reverse=True
    ):
        rows.append((row['class'], row, of_other.get(row['class'])))
    lines = []
    for name, row, its in rows:
        cells = [f'<th scope="row">{escape(name)}</th>']
        for column in COLUMNS:
            value = row[column]
            if column == 'objects':
                shown = f'{value:,}'
            elif not row['objects']:
                shown = points(None)
            elif column == 'best_threshold':
                shown = f'{value:.2f}'
            else:
                is_pair = its is not None and column in ('AP', 'AP50', 'f1')
                shown = _both(value, its and its.get(column), is_pair)
            cells.append(f'<td>{shown}</td>')
        lines.append(f'<tr>{"".join(cells)}</tr>')
    head = ''.join(f'<th scope="col">{name}</th>' for name in COLUMNS.values())
    return (
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table></div><p class="small">In '
        'points, 0 to 100. AP is the mean over ten overlaps from 0.50 to '
        '0.95, AR its recall; small is below 32², large from 96² square '
        'pixels on. F1, precision and recall are those at the score with the '
        'best F1, which the last column names; a detection is right from an '
        f'overlap of {numbers["match"]:g} on. At most '
        f'{numbers["max_detections"]} detections of a class count in an '
        'image.</p>'
    )


def _recall_chart(numbers: Numbers, other: Numbers | None) -> str:
    lines = []
    for one, is_other in ((numbers, False), (other, True)):
        if one is None:
            continue
        curves = one['precision_recall']
        for at, (name, values) in enumerate(curves['precision'].items()):
            label = f'overlap {name}' + (', other' if is_other else '')
            lines.append(Line(label, curves['recalls'], values, at, is_other))
    return line_chart(lines, 'recall', 'precision')


def _f1_chart(numbers: Numbers, other: Numbers | None) -> str:
    lines = []
    for one, is_other in ((numbers, False), (other, True)):
        if one is None:
            continue
        names = ('f1',) if is_other else ('f1', 'precision', 'recall')
        for at, name in enumerate(names):
            label = name.upper() if name == 'f1' else name
            label += ', other' if is_other else ''
            its = one['f1']
            lines.append(
                Line(label, its['thresholds'], its[name], at, is_other)
            )
    best = numbers['best']
    mark = (
        best['threshold'],
        f'best F1 {points(best["f1"])} at {best["threshold"]:.2f}',
    )
    return line_chart(lines, 'score from which on detections count', '', mark)


def _errors(numbers: Numbers, other: Numbers | None) -> str:
    errors = numbers['errors']
    kinds = [*errors['gains']]
    groups = [('this', [100 * max(0, errors['gains'][k]) for k in kinds])]
    if other is not None:
        gains = other['errors']['gains']
        groups.append(('other', [100 * max(0, gains[k]) for k in kinds]))
    rows = ''.join(
        f'<tr><th scope="row">{kind}</th><td>{errors["counts"][kind]:,}</td>'
        f'<td>{points(errors["gains"][kind])}</td>'
        f'<td class="text">{errors["meanings"][kind]}</td></tr>'
        for kind in kinds
    )
    return (
        bar_chart(kinds, groups, 'kind of error', 'points of AP50')
        + '<table><thead><tr><th></th><th>count</th><th>gain</th><th '
        f'class="text">what it is</th></tr></thead><tbody>{rows}</tbody>'
        '</table><p class="small">A gain is what AP50, '
        f'{points(errors["ap50"])}, would rise by if this kind alone were '
        'corrected (TIDE). No false detection at all would add '
        f'{points(errors["gain_without_false"])}, no unfound object '
        f'{points(errors["gain_without_missed"])}.</p>'
    )


def _calibration(numbers: Numbers, other: Numbers | None) -> str:
    lines = []
    for one, is_other in ((numbers, False), (other, True)):
        if one is not None:
            bins = [b for b in one['calibration']['bins'] if b['count']]
            lines.append(
                Line(
                    'other' if is_other else 'detections',
                    [b['score'] for b in bins],
                    [b['precision'] for b in bins],
                    int(is_other),
                    is_other,
                )
            )
    found = numbers['calibration']
    old = other and other['calibration']['ece']
    ece = _both(found['ece'], old, other is not None)
    return (
        line_chart(lines, 'score', 'share that is right', diagonal=True)
        + f'<p class="small">Expected calibration error {ece} points, of '
        f'detections from a score of {found["min_score"]:g} on. On the '
        'diagonal, a score says how often a detection is right; below it the '
        'model is too sure.</p>'
    )


def _confusion(numbers: Numbers) -> str:
    found = numbers['confusion']
    names = [*numbers['classes'], 'background']
    table = found['table']
    text = (
        f'<p class="small">Rows are objects, columns detections from a score '
        f'of {found["threshold"]:.2f} on. The last row holds detections on '
        'nothing, the last column objects that nothing was found for.</p>'
    )
    if len(names) <= _MAX_IN_TABLE:
        return f'<div class="wide">{heat_map(table, names)}</div>{text}'
    counts = sorted(
        (
            (count, names[row], names[column])
            for row, its in enumerate(table)
            for column, count in enumerate(its)
            if count and row != column
        ),
        reverse=True,
    )
    rows = ''.join(
        f'<tr><th scope="row">{escape(one)}</th><td>{escape(two)}</td>'
        f'<td>{count:,}</td></tr>'
        for count, one, two in counts[:_MAX_IN_TABLE]
    )
    return (
        '<table><thead><tr><th>object</th><th>found as</th><th>times</th>'
        f'</tr></thead><tbody>{rows}</tbody></table>{text}<p class="small">'
        'The most frequent ones; the CSV file has all.</p>'
    )


def _spreads(numbers: Numbers) -> list[str]:
    spread = numbers['spread']
    scores, sides, counts = (
        spread[name] for name in ('scores', 'sides_px', 'per_image')
    )
    bins = [f'{edge:.2f}' for edge in scores['edges'][:-1]]
    first = bar_chart(
        bins,
        [('right', scores['right']), ('wrong', scores['wrong'])],
        f'score, from {scores["min_score"]:g} on',
        'detections',
    )
    blocks = [_block('Scores', first)]
    for title, one, label in (
        ('Sizes', sides, 'root of the area, from … px on'),
        ('Numbers', counts, 'in an image, from … on'),
    ):
        bins = [f'{edge:g}' for edge in one['edges']]
        groups = [
            ('objects', one['objects']),
            ('detections', one['detections']),
        ]
        unit = 'boxes' if title == 'Sizes' else 'images'
        blocks.append(_block(title, bar_chart(bins, groups, label, unit)))
    return blocks


def _gallery(
    group: str, numbers: Numbers, pictures: Sequence[str | None]
) -> str:
    title, text = GROUPS[group]
    items = []
    for fact, picture in zip(numbers['examples'][group], pictures):
        caption = f'<b>{escape(fact["class"])}</b>'
        if 'score' in fact:
            caption += f' {fact["score"]:.2f}, {fact["kind"]}'
        if fact.get('object_class', fact['class']) != fact['class']:
            caption += f' (truth: {escape(fact["object_class"])})'
        image = (
            f'<img src="{picture}" alt="">'
            if picture
            else '<div class="blank">the image cannot be read</div>'
        )
        items.append(
            f'<figure>{image}<figcaption>{caption}<br>'
            f'{escape(fact["file"])}</figcaption></figure>'
        )
    shown = ''.join(items) or '<p>There are none.</p>'
    text += ' Green boxes are objects, orange ones detections.'
    return _block(
        title, f'<p class="small">{text}</p><div class="gallery">{shown}</div>'
    )


def _speed(
    speed: Mapping[str, Any] | None, other: Mapping[str, Any] | None
) -> str:
    if not speed:
        return ''
    rows = [('this model', speed)]
    if other:
        rows.append(('other', other))
    lines = ''.join(
        f'<tr><th scope="row">{name}</th>'
        f'<td>{one["predict_ms"]["median"]:.1f}</td>'
        f'<td>{one["predict_ms"]["p90"]:.1f}</td>'
        f'<td class="text">{escape(str(one["device"]))}</td></tr>'
        for name, one in rows
    )
    return _block(
        'Speed',
        '<table><thead><tr><th></th><th>median ms</th><th>90 % ms</th>'
        f'<th class="text">on</th></tr></thead><tbody>{lines}</tbody></table>'
        '<p class="small">From an image to its detections, one image at a '
        f'time, {speed["runs"]} times.</p>',
    )
