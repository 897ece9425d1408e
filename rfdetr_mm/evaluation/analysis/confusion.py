"""Which classes are taken for which, with the background as one of them."""

import numpy as np

from .columns import Scene
from .matching import MATCH, Pairs, match


def confusion_matrix(
    scene: Scene, pairs: Pairs, matched: np.ndarray, threshold: float
) -> np.ndarray:
    """Count objects by their class and by that of their detection.

    Detections are first matched within their class, so that the diagonal
    holds the true positives of the threshold; those that are left then take
    what is left of the other classes, best scores first.

    Args:
        scene: Its detections are ordered as by :meth:`Detections.best`.
        pairs: All pairs, see :func:`find_pairs`.
        matched: See :func:`match_by_class`.
        threshold: Detections with a lower score do not count.

    Returns:
        Shape (num_classes + 1, num_classes + 1): rows are classes of
        objects, columns those of detections, the last ones the background.
        Ignored objects, and detections on them, count nowhere.
    """
    found, objects = scene.detections, scene.objects
    num = len(scene.classes)
    is_counted = found.score >= threshold
    is_ignored = scene.is_ignored
    on_object = is_counted & (matched >= 0)
    is_found = np.zeros(len(objects), bool)
    is_found[matched[on_object]] = True
    is_left = is_counted & (matched < 0)
    rest = pairs.where(
        is_left[pairs.detection]
        & (pairs.overlap >= MATCH)
        & ~(is_found | is_ignored)[pairs.object]
    )
    others = match(
        rest,
        found.image,
        np.argsort(np.argsort(-found.score, kind='stable')),
        is_ignored,
        objects.is_crowd,
    )
    table = np.zeros((num + 1, num + 1), np.int64)
    pairs_of = np.where(matched >= 0, matched, others)
    at = is_counted & (pairs_of >= 0)
    at[at] = ~is_ignored[pairs_of[at]]
    np.add.at(table, (objects.label[pairs_of[at]], found.label[at]), 1)
    is_found[others[others >= 0]] = True
    is_false = is_left & (others < 0)
    np.add.at(table, (num, found.label[is_false]), 1)
    is_missed = ~is_found & ~is_ignored
    np.add.at(table, (objects.label[is_missed], num), 1)
    return table
