"""Which objects and detections are worth looking at."""

from typing import Any

import numpy as np

from .columns import Scene
from .error_kinds import BACKGROUND, IGNORED, RIGHT, ErrorKinds

MISSES, FALSE_ALARMS, SUSPECTS = GROUPS = (
    'misses',
    'false_alarms',
    'label_suspects',
)


def find_examples(
    scene: Scene,
    matched: np.ndarray,
    errors: ErrorKinds,
    threshold: float,
    number: int,
) -> dict[str, list[dict[str, Any]]]:
    """Choose the worst of each group, at most one of an image at first.

    Args:
        scene: Objects and detections.
        matched: See :func:`match_by_class`.
        errors: What the detections are.
        threshold: Objects whose detection scores lower are misses, too.
        number: How many of each group.

    Returns:
        ``misses``: the largest objects that were not found;
        ``false_alarms``: the wrong detections with the highest scores;
        ``label_suspects``: of these, those that no object overlaps, where
        perhaps a label is missing. Each has ``image`` (its position),
        ``row`` (of the object or the detection), ``kind``, ``class``, and
        ``score`` where it is a detection.
    """
    found, objects = scene.detections, scene.objects
    is_found = np.zeros(len(objects), bool)
    is_found[matched[(matched >= 0) & (found.score >= threshold)]] = True
    missed = np.flatnonzero(~is_found & ~scene.is_ignored)
    missed = missed[np.argsort(-objects.area[missed], kind='stable')]
    wrong = np.flatnonzero(~np.isin(errors.kind, (RIGHT, IGNORED)))
    wrong = wrong[np.argsort(-found.score[wrong], kind='stable')]
    on_nothing = errors.kind[wrong] == BACKGROUND
    chosen = {
        MISSES: _spread(missed, objects.image, number),
        FALSE_ALARMS: _spread(wrong[~on_nothing], found.image, number),
        SUSPECTS: _spread(wrong[on_nothing], found.image, number),
    }
    return {
        group: [_described(scene, errors, group, int(row)) for row in rows]
        for group, rows in chosen.items()
    }


def _spread(rows: np.ndarray, image: np.ndarray, number: int) -> list[int]:
    """The first rows, those of images that were not shown yet before others.

    So that one odd image does not fill the page.
    """
    rows = rows[: 50 * number]
    _, first = np.unique(image[rows], return_index=True)
    first = np.sort(first)
    rest = np.setdiff1d(np.arange(len(rows)), first)
    return rows[np.concatenate([first, rest])[:number]].tolist()


def _described(
    scene: Scene, errors: ErrorKinds, group: str, row: int
) -> dict[str, Any]:
    side = scene.objects if group == MISSES else scene.detections
    image = int(side.image[row])
    fact = dict(
        image=image,
        image_id=scene.image_ids[image],
        file=scene.image_paths[image].replace('\\', '/').rpartition('/')[-1],
        row=row,
        box_xywh_px=[round(float(v), 2) for v in side.boxes_xywh_px[row]],
    )
    fact['class'] = scene.classes[side.label[row]]
    if group == MISSES:
        fact['kind'] = 'missed'
    else:
        fact['kind'] = str(errors.kind[row])
        fact['score'] = float(side.score[row])
        if (meant := errors.meant[row]) >= 0:
            fact['object_class'] = scene.classes[scene.objects.label[meant]]
    return fact
