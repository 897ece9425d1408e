"""Objects and detections of a whole data set as flat columns."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BOX, MASK, KEYPOINTS = KINDS = ('bbox', 'segm', 'keypoints')
# Detections of a class in an image that count, as COCO's tables have them
MAX_DETECTIONS = {BOX: 100, MASK: 100, KEYPOINTS: 20}


@dataclasses.dataclass(frozen=True)
class Objects:
    """The objects of all images, image after image.

    Args:
        image: Positions of their images, ascending, shape (n,).
        label: Positions of their classes, shape (n,).
        boxes_xywh_px: Shape (n, 4), float64.
        area: Square pixels as annotated, shape (n,).
        is_crowd: Shape (n,).
        masks: COCO's run-length encoding of each, or None.
        keypoints: Shape (n, num_keypoints, 3): x and y in pixels, and
            COCO's visibility, 0 where there is no label; or None.
    """

    image: np.ndarray
    label: np.ndarray
    boxes_xywh_px: np.ndarray
    area: np.ndarray
    is_crowd: np.ndarray
    masks: Sequence[dict[str, Any]] | None = None
    keypoints: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)


@dataclasses.dataclass(frozen=True)
class Detections:
    """The detections of all images.

    Args:
        image: Positions of their images, shape (n,).
        label: Positions of their classes, shape (n,).
        boxes_xywh_px: Shape (n, 4), float64.
        score: Shape (n,), 0 to 1.
        masks: COCO's run-length encoding of each, or None.
        keypoints: Shape (n, num_keypoints, 2), x and y in pixels, or None.
    """

    image: np.ndarray
    label: np.ndarray
    boxes_xywh_px: np.ndarray
    score: np.ndarray
    masks: Sequence[dict[str, Any]] | None = None
    keypoints: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    def taken(self, rows: np.ndarray) -> 'Detections':
        """Take some of them, in this order.

        Args:
            rows: Their positions, or whether each is taken.

        Returns:
            New columns.
        """
        rows = np.arange(len(self))[rows]
        masks, points = self.masks, self.keypoints
        return Detections(
            self.image[rows],
            self.label[rows],
            self.boxes_xywh_px[rows],
            self.score[rows],
            None if masks is None else [masks[row] for row in rows],
            None if points is None else points[rows],
        )

    def finite(self) -> 'Detections':
        """Those whose numbers are all finite."""
        is_finite = np.isfinite(self.boxes_xywh_px).all(axis=1)
        is_finite &= np.isfinite(self.score)
        if self.keypoints is not None:
            is_finite &= np.isfinite(self.keypoints).all(axis=(1, 2))
        return self if is_finite.all() else self.taken(is_finite)

    def best(self, maximum: int) -> 'Detections':
        """The best of each class in each image, ordered by these and score.

        Equal scores stay in their order, as in pycocotools.

        Args:
            maximum: How many of a class count in an image.
        """
        order = np.lexsort((-self.score, self.label, self.image))
        image, label = self.image[order], self.label[order]
        return self.taken(order[ranks(starts_of(image, label)) < maximum])


@dataclasses.dataclass(frozen=True)
class Scene:
    """A data set and what was found in it.

    Args:
        kind: What is compared: ``'bbox'``, ``'segm'`` or ``'keypoints'``.
        classes: Names in the order of the labels.
        image_ids: The ids in the annotation file.
        image_paths: Where each image is; may be empty text.
        objects: What there is.
        detections: What was found.
        max_detections: Detections of a class in an image that count; None
            for COCO's number.
        sigmas: For keypoints: label to its sigmas, see ``NamedOksMetric``.
    """

    kind: str
    classes: tuple[str, ...]
    image_ids: tuple[int, ...]
    image_paths: tuple[str, ...]
    objects: Objects
    detections: Detections
    max_detections: int | None = None
    sigmas: Mapping[int, Sequence[float]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def maximum(self) -> int:
        """Detections of a class in an image that count."""
        return self.max_detections or MAX_DETECTIONS[self.kind]

    @property
    def is_ignored(self) -> np.ndarray:
        """Whether an object neither is missed nor found, shape (n,)."""
        ignored = self.objects.is_crowd
        if self.kind == KEYPOINTS and self.objects.keypoints is not None:
            ignored = ignored | ~(self.objects.keypoints[..., 2] > 0).any(1)
        return ignored


def starts_of(*columns: np.ndarray) -> np.ndarray:
    """Where a new group begins in columns sorted by it, shape (n,)."""
    is_start = np.ones(len(columns[0]), bool)
    if len(is_start):
        is_start[1:] = np.any([c[1:] != c[:-1] for c in columns], axis=0)
    return is_start


def ranks(is_start: np.ndarray) -> np.ndarray:
    """Each row's position in its group, from 0 on.

    Args:
        is_start: Where groups begin, see :func:`starts_of`.
    """
    places = np.arange(len(is_start))
    return places - np.maximum.accumulate(np.where(is_start, places, 0))
