"""Detections of an image as arrays."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rfdetr_mm_light.errors import InputError

from .keypoints import KEYPOINTS, to_key_points

if TYPE_CHECKING:
    import supervision


@dataclass
class Detections:
    """What was found in an image, best first.

    The fields are named as those of ``supervision.Detections``, so that code
    that reads one reads the other.

    Attributes:
        xyxy: Boxes, (x1, y1, x2, y2) in pixels of the image, float32, shape
            (n, 4).
        confidence: Scores, float32, shape (n,).
        class_id: 0-based, int64, shape (n,).
        mask: True in the object, shape (n, h, w) of the image; None if the
            model has no masks.
        data: ``class_name``, names as objects, shape (n,), and
            ``source_shape``, (height, width) of the image, shape (n, 2); of a
            model with keypoints what :func:`~.keypoints.add_keypoints` adds.
        metadata: ``source_image``, the image, uint8, RGB, shape (h, w, 3), if
            it was wanted.
    """

    xyxy: np.ndarray
    confidence: np.ndarray
    class_id: np.ndarray
    mask: np.ndarray | None = None
    data: dict[str, np.ndarray] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, rows: Any) -> 'Detections':
        """Choose detections by a slice, by numbers or by truth values."""
        if isinstance(rows, (int, np.integer)):
            rows = [rows]
        return Detections(
            xyxy=self.xyxy[rows],
            confidence=self.confidence[rows],
            class_id=self.class_id[rows],
            mask=None if self.mask is None else self.mask[rows],
            data={name: values[rows] for name, values in self.data.items()},
            metadata=dict(self.metadata),
        )

    @property
    def class_names(self) -> np.ndarray:
        """Name of the class of each detection, as objects, shape (n,)."""
        return self.data['class_name']

    def to_supervision(
        self,
    ) -> 'supervision.Detections | supervision.KeyPoints':
        """The same as an object of supervision.

        Returns:
            Detections; KeyPoints of a model with keypoints.

        Raises:
            InputError: If supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise InputError(
                f'supervision cannot be imported ({error}). Install it: '
                'pip install supervision; the arrays need nothing of it.'
            ) from error
        if KEYPOINTS in self.data:
            return to_key_points(self)
        return supervision.Detections(
            xyxy=self.xyxy,
            confidence=self.confidence,
            class_id=self.class_id,
            mask=self.mask,
            data=dict(self.data),
            metadata=dict(self.metadata),
        )
