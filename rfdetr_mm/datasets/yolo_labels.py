"""Lines of label files in the YOLO layout."""

import math
from pathlib import Path

from rfdetr_mm.errors import InputError

from .bad_entries import BadEntries
from .yolo_layout import YoloLayout, read_lines

_NUMBERS = 'all must be numbers'
_TOLERANCE = 1e-3  # of a normalised coordinate; labels are rounded


def read_yolo_labels(
    path: Path,
    layout: YoloLayout,
    height: int,
    width: int,
    bad_entries: BadEntries | None = None,
) -> tuple[list[dict], int]:
    """Read the objects of one image.

    Args:
        path: The text file; if it is missing there are no objects.
        layout: Tells the numbers of the classes.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        bad_entries: As in
            :func:`~rfdetr_mm.datasets.yolo.read_yolo_split`.

    Returns:
        For each object with an area ``bbox`` (x1, y1, x2, y2) in pixels,
        ``bbox_label``, a position in ``layout.names``, ``ignore_flag`` 0
        and, where the line is an outline, ``mask`` (a list of one polygon);
        with ``kpt_shape`` in the layout ``keypoints``, (x, y, visibility) in
        pixels of each, zeros where nothing is labelled.
        and the number of objects without area.

    Raises:
        InputError: For a line that is neither a box nor an outline, or whose
            keypoints are impossible.
    """
    if not path.is_file():
        return [], 0
    instances, num_empty = [], 0
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            label, values, points = _parse_line(line, layout)
        except _LineError as error:
            where = f'{path}, line {number}'
            if bad_entries is None:
                raise InputError(f'{where}: {error}') from error
            rule = f'lines of labels: {error.rule}'
            example = f'{where}: {error}'
            bad_entries.add(InputError(example), rule, example)
            continue
        instance = _make_instance(label, values, height, width)
        if points:
            instance['keypoints'] = [
                [x * width, y * height, visibility]
                for x, y, visibility in points
            ]
        x1, y1, x2, y2 = instance['bbox']
        if x2 > x1 and y2 > y1:
            instances.append(instance)
        else:
            num_empty += 1
    return instances, num_empty


class _LineError(ValueError):
    """A line that breaks a rule.

    Args:
        rule: The rule, without what the line has.
        message: What is wrong with the line.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


def _parse_line(
    line: str, layout: YoloLayout
) -> tuple[int, list[float], list[tuple[float, float, int]]]:
    """Label, normalised coordinates and keypoints of a line."""
    first, *rest = line.split()
    points = []
    if num_keypoint_values := layout.num_keypoint_values:
        if len(rest) != 4 + num_keypoint_values:
            raise _LineError(
                f'the class and {4 + num_keypoint_values} numbers are needed',
                'expected "class cx cy w h" and the '
                f'{num_keypoint_values} numbers of the keypoints (kpt_shape '
                f'in {layout.path}), got {len(rest)} numbers after the '
                f'class: {line.strip()!r:.80}',
            )
        points = _parse_keypoints(rest[4:], layout.keypoint_shape[1])
        rest = rest[:4]
    if len(rest) != 4 and (len(rest) < 6 or len(rest) % 2):
        raise _LineError(
            'the class and 4, or 6, 8, 10, … numbers are needed',
            'expected "class cx cy w h" or "class x1 y1 x2 y2 x3 y3 ...", got '
            f'{len(rest)} numbers after the class: {line.strip()!r:.80}',
        )
    try:
        number, values = float(first), [float(value) for value in rest]
    except ValueError:
        raise _LineError(
            _NUMBERS, f'not a number in {line.strip()!r:.80}'
        ) from None
    if number not in layout.labels:
        raise _LineError(
            'the class must be one of the numbers of names',
            _explain_number(first, layout),
        )
    for value in values:
        if not -_TOLERANCE <= value <= 1 + _TOLERANCE:  # or not a number
            raise _LineError(
                'coordinates must lie between 0 and 1',
                f'{value} is not a part of the width or height, between 0 and '
                '1; pixels must be divided by the size of the image',
            )
    return layout.labels[int(number)], values, points


def _parse_keypoints(
    texts: list[str], dim: int
) -> list[tuple[float, float, int]]:
    """Normalised (x, y, visibility) of each, zeros where not labelled."""
    try:
        values = [float(text) for text in texts]
    except ValueError:
        raise _LineError(
            _NUMBERS, f'not a number in {" ".join(texts)!r:.80}'
        ) from None
    if not all(map(math.isfinite, values)):
        rule = 'keypoints must be finite numbers'
        raise _LineError(rule, rule)
    points = []
    for i in range(0, len(values), dim):
        x, y, *rest = values[i : i + dim]
        visibility = rest[0] if rest else 2 * (x >= 0 and y >= 0)
        if visibility not in (0, 1, 2):
            raise _LineError(
                'the visibility of a keypoint must be 0, 1 or 2',
                f'{visibility:g} is not a visibility of a keypoint: 0 (not '
                'labelled), 1 (hidden) or 2 (visible)',
            )
        is_inside = 0 <= x < 1 and 0 <= y < 1
        is_kept = visibility and is_inside
        points.append((x, y, int(visibility)) if is_kept else (0.0, 0.0, 0))
    return points


def _explain_number(first: str, layout: YoloLayout) -> str:
    numbers = sorted(layout.labels)
    if numbers != list(range(len(numbers))):
        known = ', '.join(map(str, numbers))
        return (
            f'class {first} is none of the numbers of names in {layout.path}: '
            f'{known}'
        )
    return (
        f'class {first} is none of 0 ... {numbers[-1]}, the names in '
        f'{layout.path}. A list of names is counted from 0 on; some '
        'exporters count from 1 on or write the ids of their tool: then '
        'write names as a mapping of these numbers, such as '
        f'{{{first}: {layout.names[-1]}}}'
    )


def _make_instance(
    label: int, values: list[float], height: int, width: int
) -> dict:
    """An object in pixels, its box cut at the border."""
    instance = dict(bbox_label=label, ignore_flag=0)
    if len(values) == 4:
        cx, cy, w, h = values
        x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    else:
        x1, x2 = min(values[::2]), max(values[::2])
        y1, y2 = min(values[1::2]), max(values[1::2])
        instance['mask'] = [
            [
                min(max(value, 0.0), 1.0) * (height if i % 2 else width)
                for i, value in enumerate(values)
            ]
        ]
    instance['bbox'] = [
        min(max(x1, 0.0), 1.0) * width,
        min(max(y1, 0.0), 1.0) * height,
        min(max(x2, 0.0), 1.0) * width,
        min(max(y2, 0.0), 1.0) * height,
    ]
    return instance
