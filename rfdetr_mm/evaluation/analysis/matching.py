"""Which detection lies on which object: overlaps, and COCO's greedy choice."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from pycocotools import mask as mask_api

from .columns import KEYPOINTS, MASK, Scene, ranks, starts_of

MATCH = 0.5  # IoU or OKS from which on an object counts as found
NEAR = 0.1  # below it a detection lies on the background (TIDE's t_b)
_MAX_PAIRS = 1 << 20  # that are computed at once


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Detections and objects of the same image that overlap.

    Args:
        detection: Positions of detections, ascending, shape (n,).
        object: Positions of objects, shape (n,).
        overlap: IoU, or OKS for keypoints, at least ``NEAR``, shape (n,).
    """

    detection: np.ndarray
    object: np.ndarray
    overlap: np.ndarray

    def where(self, is_kept: np.ndarray) -> 'Pairs':
        """Some of them.

        Args:
            is_kept: Shape (n,).
        """
        return Pairs(*(c[is_kept] for c in dataclasses.astuple(self)))


def find_pairs(scene: Scene) -> Pairs:
    """Find all pairs that overlap by at least ``NEAR``, also across classes.

    The overlap with a crowd is the part of the detection that lies in it, as
    in COCO.

    Args:
        scene: Its detections are ordered by their images.
    """
    parts = []
    for rows, columns in _chunks(scene):
        if scene.kind == MASK:
            overlap = _of_masks(scene, rows, columns)
        elif scene.kind == KEYPOINTS:
            overlap = _of_keypoints(scene, rows, columns)
        else:
            overlap = _of_boxes(scene, rows, columns)
        near = overlap >= NEAR
        parts.append((rows[near], columns[near], overlap[near]))
    if not parts:
        none = np.zeros(0, np.int64)
        return Pairs(none, none, np.zeros(0))
    return Pairs(*(np.concatenate(column) for column in zip(*parts)))


def match(
    pairs: Pairs,
    group: np.ndarray,
    order: np.ndarray,
    is_ignored: np.ndarray,
    is_crowd: np.ndarray,
) -> np.ndarray:
    """Give every detection its object, best detections first.

    Each takes the object that overlaps it most and is still free; the last
    one of equals; one that counts rather than an ignored one. A crowd stays
    free. Groups are independent of each other, so that the first detections
    of all groups choose at once, then the second ones, and so on.

    Args:
        pairs: The pairs that may be matched.
        group: Group of each detection, shape (num_detections,).
        order: Place of each detection among those of its group.
        is_ignored: Whether an object does not count, shape (num_objects,).
        is_crowd: Whether an object is a crowd, shape (num_objects,).

    Returns:
        Each detection's object, -1 for none, shape (num_detections,).

    Source: the rule of pycocotools 2.0.11, COCOeval.evaluateImg.
    """
    chosen = np.full(len(group), -1)
    candidates = np.unique(pairs.detection)
    candidates = candidates[np.lexsort((order[candidates], group[candidates]))]
    turn = np.zeros(len(group), np.int64)
    turn[candidates] = ranks(starts_of(group[candidates]))
    sequence = np.lexsort(
        (
            -pairs.object,
            -pairs.overlap,
            is_ignored[pairs.object],
            pairs.detection,
            turn[pairs.detection],
        )
    )
    detection, wanted = pairs.detection[sequence], pairs.object[sequence]
    turns = turn[detection]
    is_taken = np.zeros(len(is_ignored), bool)
    bounds = np.searchsorted(turns, np.arange(turns.max(initial=-1) + 2))
    for start, end in zip(bounds[:-1], bounds[1:]):
        mine, its = detection[start:end], wanted[start:end]
        is_free = ~is_taken[its] | is_crowd[its]
        mine, its = mine[is_free], its[is_free]
        first = starts_of(mine)
        chosen[mine[first]] = its[first]
        is_taken[its[first]] = True
    return chosen


def match_by_class(scene: Scene, pairs: Pairs) -> np.ndarray:
    """Match detections with objects of their class from ``MATCH`` on.

    Args:
        scene: Its detections are ordered as by :meth:`Detections.best`.
        pairs: All pairs, see :func:`find_pairs`.

    Returns:
        Each detection's object, -1 for none.
    """
    found, objects = scene.detections, scene.objects
    same = found.label[pairs.detection] == objects.label[pairs.object]
    return match(
        pairs.where(same & (pairs.overlap >= MATCH)),
        found.image * len(scene.classes) + found.label,
        np.arange(len(found)),
        scene.is_ignored,
        objects.is_crowd,
    )


def _chunks(scene: Scene) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of the same image, as positions, not too many at once."""
    images = np.arange(len(scene.image_ids) + 1)
    bounds = np.searchsorted(scene.objects.image, images)
    begin, count = bounds[:-1], np.diff(bounds)
    image = scene.detections.image
    ends = np.cumsum(count[image])
    start = 0
    while start < len(image):
        before = ends[start - 1] if start else 0
        end = max(
            start + 1, np.searchsorted(ends, before + _MAX_PAIRS, 'right')
        )
        times = count[image[start:end]]
        rows = np.repeat(np.arange(start, end), times)
        columns = np.repeat(begin[image[start:end]], times)
        firsts = np.repeat(np.cumsum(times) - times, times)
        yield rows, columns + np.arange(len(rows)) - firsts
        start = end


def _of_boxes(
    scene: Scene, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    x, y, w, h = scene.detections.boxes_xywh_px[rows].T
    u, v, s, t = scene.objects.boxes_xywh_px[columns].T
    width = np.minimum(x + w, u + s) - np.maximum(x, u)
    height = np.minimum(y + h, v + t) - np.maximum(y, v)
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    whole = np.where(
        scene.objects.is_crowd[columns], w * h, w * h + s * t - shared
    )
    return np.divide(shared, whole, np.zeros(len(rows)), where=whole > 0)


def _of_masks(
    scene: Scene, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    found, objects = scene.detections.masks, scene.objects.masks
    overlap = np.zeros(len(rows))
    image = scene.detections.image[rows]
    # Masks whose boxes do not meet cannot either.
    edges = np.flatnonzero(np.append(starts_of(image), True))
    for start, end in zip(edges[:-1], edges[1:]):
        mine, its = np.unique(rows[start:end]), np.unique(columns[start:end])
        values = mask_api.iou(
            [found[row] for row in mine],
            [objects[column] for column in its],
            scene.objects.is_crowd[its].astype(np.uint8),
        )
        overlap[start:end] = np.asarray(values).reshape(-1)
    return overlap


def _of_keypoints(
    scene: Scene, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """OKS; 0 between classes with other keypoints.

    Source: the rule of pycocotools 2.0.11, COCOeval.computeOks.
    """
    found, objects = scene.detections, scene.objects
    overlap = np.zeros(len(rows))
    of_row, of_column = found.label[rows], objects.label[columns]
    for label, sigmas in scene.sigmas.items():
        alike = [k for k, v in scene.sigmas.items() if len(v) == len(sigmas)]
        at = (of_column == label) & np.isin(of_row, alike)
        count = len(sigmas)
        truth = objects.keypoints[columns[at], :count]
        x, y, w, h = objects.boxes_xywh_px[columns[at]].T
        points = found.keypoints[rows[at], :count]
        away = points - truth[..., :2]
        # Without any labelled keypoint: how far outside the doubled box.
        low = np.stack([x - w, y - h], axis=1)[:, None]
        high = np.stack([x + 2 * w, y + 2 * h], axis=1)[:, None]
        outside = np.maximum(0, low - points) + np.maximum(0, points - high)
        is_seen = truth[..., 2] > 0
        has_any = is_seen.any(axis=1)[:, None]
        away = np.where(has_any[..., None], away, outside)
        spread = (2 * np.asarray(sigmas)) ** 2
        area = objects.area[columns[at]][:, None] + np.spacing(1)
        error = (away**2).sum(axis=-1) / spread / area / 2
        counted = np.where(has_any, is_seen, True)
        parts = np.where(counted, np.exp(-error), 0).sum(axis=1)
        overlap[at] = parts / np.maximum(counted.sum(axis=1), 1)
    return overlap
