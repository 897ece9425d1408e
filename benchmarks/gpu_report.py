"""What gpu_rows.py found, as tables."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from paired_rounds import ratio, spread
from report import or_dash, page, percent, ratio_cell, span, table, verdict
from sides import SIDES

Result = dict[str, Any]

# What memory is compared of what a worker says.
MEMORY = dict(steps='peak memory', reserved='memory pool')


def kind(result: Result) -> str:
    """Row, batch size and dtype of a result, for people."""
    what = 'training step, bf16'
    if result['row'] == 'forward':
        what = f'forward, {result["work"]}'
    return f'{what}, batch {result["batch_size"]}'


def comparisons(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Ours over rfdetr: the pairs, and the fastest of each side.

    Args:
        results: The results of all configurations.

    Returns:
        For each pair what it is, the configurations, ``ratio`` of images per
        second (above 1 ours is ahead) and ``memory``, ratios of the worker's
        peaks (below 1 ours is ahead), or None.
    """
    found = []
    for name in dict.fromkeys(map(kind, results)):
        one = [r for r in results if kind(r) == name]
        sides = [
            {r['configuration']: r for r in one if r['side'] == side}
            for side in SIDES
        ]
        if not all(sides):
            continue
        ours, theirs = sides
        for configuration in ours:
            if configuration in theirs:
                both = ours[configuration], theirs[configuration]
                found.append(_compared(name, both))
        if any(len(side) > 1 for side in sides):
            best = [max(side.values(), key=_speed) for side in sides]
            found.append(_compared(f'{name}, best of each', best))
    return found


def _speed(result: Result) -> float:
    return median(result['images_per_s'])


def _compared(what: str, both: Sequence[Result]) -> dict[str, Any]:
    ours, theirs = both
    rounds = min(len(r['images_per_s']) for r in both)
    memory = None
    if all(r['memory'] for r in both):
        memory = {
            k: ours['memory'][k] / theirs['memory'][k] for k in ours['memory']
        }
    return dict(
        what=what,
        ours=ours['configuration'],
        theirs=theirs['configuration'],
        ratio=ratio(
            ours['images_per_s'][:rounds], theirs['images_per_s'][:rounds]
        ),
        memory=memory,
    )


def _flops_per_image(results: Sequence[Result], of: Result) -> float | None:
    """As rfdetr's eager run was counted: it recomputes nothing."""
    for result in results:
        same = (result['row'], result['batch_size']) == (
            of['row'],
            of['batch_size'],
        )
        if same and result['flops']:
            return result['flops'] / result['batch_size']
    return None


def _result_rows(content: Mapping[str, Any]) -> list[list[str]]:
    lines = []
    for result in content['rows']:
        speed = spread(result['images_per_s'])
        flops, share = _flops_per_image(content['rows'], result), None
        if flops and result['work'] != 'fp32':
            share = flops * speed['median'] / content['matmul_peak']
        memory = (result['memory'] or dict.fromkeys('012')).values()
        lines.append(
            [
                kind(result),
                result['side'],
                result['configuration'],
                span(speed, '.1f'),
                f'{1000 * result["batch_size"] / speed["median"]:.2f}',
                percent(share, '.1f'),
                *(or_dash(value, '.0f') for value in memory),
                f'{result["warm_up_s"]:.0f}',
            ]
        )
    return lines


def _ratio_rows(compared: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [
            one['what'],
            one['ours'],
            one['theirs'],
            ratio_cell(one['ratio']),
            *(or_dash((one['memory'] or {}).get(k), '.3f') for k in MEMORY),
        ]
        for one in compared
    ]


def behind(compared: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of what rfdetr is ahead in."""
    found = []
    for one in compared:
        name = f'{one["what"]} ({one["ours"]} against {one["theirs"]})'
        if one['ratio']['median'] < 1:
            found.append(name)
        for key, of in MEMORY.items():
            if one['memory'] and one['memory'][key] > 1:
                found.append(f'{of} of {name}')
    return found


def markdown(content: Mapping[str, Any]) -> str:
    """Put everything into tables.

    Args:
        content: What compare.json holds.

    Returns:
        The text of compare.md.
    """
    compared = comparisons(content['rows'])
    found = content['machine']
    parts = []
    if 'gpu' in found:
        parts.append(
            f'{found["gpu"]}, {found["gpu_gib"]:.0f} GiB, CUDA '
            f'{found["cuda"]}. bfloat16 matrix products reach '
            f'{content["matmul_peak"] / 1e12:.0f} TFLOP/s here.'
        )
    if content['parity']:
        parts.append(
            '{:.1f} % of the queries agree within {tolerance} before anything '
            'is timed, median difference {median:.2g} (float32).'.format(
                100 * content['parity']['share'], **content['parity']
            )
        )
    head = ['', 'side', 'configuration', 'images/s: median (low to high)']
    head += ['ms', 'of the matmul peak', 'peak MiB: steps', 'all']
    head += ['pool', 'warm-up s']
    parts.append(table(head, _result_rows(content)))
    parts.append(
        'Ratios are ours over rfdetr, of images per second round by round '
        '(above 1 ours is ahead), of the peak memory of steps and of the '
        'memory pool, which holds what CUDA graphs keep (below 1 ours is '
        'ahead).'
    )
    head = ['', 'rfdetr_mm', 'rfdetr', 'speed (low to high)', *MEMORY.values()]
    parts += [table(head, _ratio_rows(compared)), verdict(behind(compared))]
    return page(content, *parts)
