"""What costs average precision: TIDE's six kinds of errors.

Source: Bolya, Foley, Hays, Hoffman: TIDE, a general toolbox for identifying
object detection errors, ECCV 2020, section 2.
"""

import dataclasses

import numpy as np

from .average_precision import (
    by_class_and_score,
    mean_of_known,
    precisions,
)
from .columns import Scene
from .matching import MATCH, Pairs

CLASS, LOCATION, BOTH, DUPLICATE, BACKGROUND, MISSED = KINDS = (
    'class',
    'location',
    'both',
    'duplicate',
    'background',
    'missed',
)
MEANINGS = {
    CLASS: 'on an object of another class',
    LOCATION: 'right class, box too far off',
    BOTH: 'another class and box too far off',
    DUPLICATE: 'on an object that a better detection has found',
    BACKGROUND: 'on nothing',
    MISSED: 'objects that no detection comes near',
}
RIGHT, IGNORED = 'right', 'ignored'
_CODES = {name: code for code, name in enumerate((RIGHT, IGNORED, *KINDS))}


@dataclasses.dataclass(frozen=True)
class ErrorKinds:
    """Every detection's kind, and what correcting a kind gains.

    Args:
        kind: Name of each detection's kind, an array of texts, shape (n,):
            ``'right'``, ``'ignored'`` or one of ``KINDS``.
        meant: The object that a wrong detection probably is of, -1 for none,
            shape (n,).
        is_missed: Whether each object is missed, shape (num_objects,).
        ap50: AP at an IoU of 0.5 as it is, 0 to 1.
        gains: Kind to the AP that its correction adds, 0 to 1.
        counts: Kind to how many there are.
        gain_without_false: What removing every false positive adds.
        gain_without_missed: What leaving out every unfound object adds.
    """

    kind: np.ndarray
    meant: np.ndarray
    is_missed: np.ndarray
    ap50: float
    gains: dict[str, float]
    counts: dict[str, int]
    gain_without_false: float
    gain_without_missed: float


def find_error_kinds(
    scene: Scene, pairs: Pairs, matched: np.ndarray
) -> ErrorKinds:
    """Sort wrong detections by their kinds, and weigh the kinds.

    A wrong detection is the first of these that holds: it lies near an
    object of its class (``location``), on one of another class (``class``),
    on a found one of its class (``duplicate``), on nothing (``background``),
    near one of another class (``both``). Objects that were not found, and
    that no ``location`` or ``class`` error is of, are ``missed``.

    Args:
        scene: Its detections are ordered as by :meth:`Detections.best`.
        pairs: All pairs, see :func:`find_pairs`.
        matched: See :func:`match_by_class`.

    Returns:
        Kinds, gains and counts.
    """
    found, objects = scene.detections, scene.objects
    is_ignored = scene.is_ignored
    pairs = pairs.where(~is_ignored[pairs.object])
    same = found.label[pairs.detection] == objects.label[pairs.object]
    own, own_object = _nearest(pairs.where(same), len(found))
    other, other_object = _nearest(pairs.where(~same), len(found))
    is_wrong = matched < 0
    code = np.full(len(found), _CODES[RIGHT])
    code[~is_wrong] = np.where(
        is_ignored[matched[~is_wrong]], _CODES[IGNORED], _CODES[RIGHT]
    )
    meant = np.full(len(found), -1)
    is_open = is_wrong.copy()
    near_other = other_object >= 0
    for name, holds, its in (
        (LOCATION, (own_object >= 0) & (own < MATCH), own_object),
        (CLASS, other >= MATCH, other_object),
        (DUPLICATE, own >= MATCH, own_object),
        (BOTH, near_other, other_object),
        (BACKGROUND, True, np.full(len(found), -1)),
    ):
        at = is_open & holds
        code[at], meant[at] = _CODES[name], its[at]
        is_open &= ~at
    names = np.array([*_CODES])
    kind = names[code]
    is_found = np.zeros(len(objects), bool)
    is_found[matched[~is_wrong]] = True
    is_correctable = np.isin(code, [_CODES[CLASS], _CODES[LOCATION]])
    is_named = np.zeros(len(objects), bool)
    is_named[meant[is_correctable]] = True
    is_missed = ~is_found & ~is_named & ~is_ignored
    table = _Table(scene, matched, code, meant, is_found)
    ap50 = table.ap()
    counts = np.bincount(code, minlength=len(_CODES))
    gains = {name: table.corrected(name) - ap50 for name in KINDS[:-1]}
    gains[MISSED] = table.ap(without=is_missed) - ap50
    return ErrorKinds(
        kind=kind,
        meant=meant,
        is_missed=is_missed,
        ap50=ap50,
        gains=gains,
        counts={
            **{name: int(counts[_CODES[name]]) for name in KINDS[:-1]},
            MISSED: int(is_missed.sum()),
        },
        gain_without_false=table.ap(is_kept=~is_wrong) - ap50,
        gain_without_missed=table.ap(without=~is_found & ~is_ignored) - ap50,
    )


class _Table:
    """Average precision of a scene with some of its errors corrected."""

    def __init__(
        self,
        scene: Scene,
        matched: np.ndarray,
        code: np.ndarray,
        meant: np.ndarray,
        is_found: np.ndarray,
    ) -> None:
        self.scene, self.matched, self.is_found = scene, matched, is_found
        self.code, self.meant = code, meant
        self.is_counted = code != _CODES[IGNORED]
        self.is_true = code == _CODES[RIGHT]
        found = scene.detections
        self.order = by_class_and_score(found.label, found.score)

    def ap(
        self,
        is_kept: np.ndarray | None = None,
        without: np.ndarray | None = None,
        label: np.ndarray | None = None,
        is_true: np.ndarray | None = None,
    ) -> float:
        """AP50 of the detections that are kept, without some objects."""
        found, objects = self.scene.detections, self.scene.objects
        kept = self.is_counted if is_kept is None else is_kept
        kept = kept & self.is_counted
        there = ~self.scene.is_ignored
        if without is not None:
            there = there & ~without
        order = self.order
        if label is None:
            label = found.label
        else:
            order = by_class_and_score(label, found.score)
        order = order[kept[order]]
        is_true = self.is_true if is_true is None else is_true
        num = np.bincount(
            objects.label[there], minlength=len(self.scene.classes)
        )
        if without is not None and not num.any():
            return 1.0  # nothing is left to be found
        return mean_of_known(precisions(label[order], is_true[order], num))

    def corrected(self, name: str) -> float:
        """AP50 after all errors of a kind have been corrected.

        Where a detection would be right, the better of it and of the
        object's other detections is, and the others go.
        """
        is_error = self.code == _CODES[name]
        if name not in (CLASS, LOCATION):
            return self.ap(is_kept=~is_error)
        found, objects = self.scene.detections, self.scene.objects
        its = np.where(is_error, self.meant, self.matched)
        rivals = np.flatnonzero(is_error | (self.is_true & (its >= 0)))
        rivals = rivals[np.lexsort((-found.score[rivals], its[rivals]))]
        first = np.ones(len(rivals), bool)
        first[1:] = its[rivals][1:] != its[rivals][:-1]
        is_kept = np.ones(len(found), bool)
        is_kept[rivals[~first]] = False
        is_true = self.is_true | is_error
        label = found.label.copy()
        label[is_error] = objects.label[its[is_error]]
        return self.ap(is_kept=is_kept, label=label, is_true=is_true)


def _nearest(pairs: Pairs, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Each detection's greatest overlap and the object, 0 and -1 for none."""
    order = np.lexsort((pairs.object, -pairs.overlap, pairs.detection))
    detection = pairs.detection[order]
    first = np.ones(len(order), bool)
    first[1:] = detection[1:] != detection[:-1]
    overlap, nearest = np.zeros(num), np.full(num, -1)
    overlap[detection[first]] = pairs.overlap[order][first]
    nearest[detection[first]] = pairs.object[order][first]
    return overlap, nearest
