"""Detections as labels of FiftyOne."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import fiftyone
    from supervision import Detections


def fiftyone_detections(
    found: 'Detections', image_hw: tuple[int, int]
) -> 'fiftyone.Detections':
    """Make the label that a sample of FiftyOne keeps.

    Args:
        found: Result of ``predict`` for one image.
        image_hw: (height, width) of the image in pixels.

    Returns:
        ``fiftyone.Detections``: boxes (x, y, width, height) as shares of the
        image's sides, confidences, class names, and masks, which FiftyOne
        keeps as the part inside of the box.

    Raises:
        ImportError: If FiftyOne is not installed.
    """
    import fiftyone

    height, width = image_hw
    labels = []
    for i in range(len(found)):
        x1, y1, x2, y2 = (float(v) for v in found.xyxy[i])
        mask = None
        if found.mask is not None:
            mask = _inside(found.mask[i], (x1, y1, x2, y2))
        labels.append(
            fiftyone.Detection(
                label=str(found.data['class_name'][i]),
                bounding_box=[
                    x1 / width,
                    y1 / height,
                    (x2 - x1) / width,
                    (y2 - y1) / height,
                ],
                confidence=float(found.confidence[i]),
                mask=mask,
            )
        )
    return fiftyone.Detections(detections=labels)


def _inside(
    mask: np.ndarray, xyxy: tuple[float, float, float, float]
) -> np.ndarray:
    """Cut (h, w) out of a mask: the pixels that FiftyOne paints into."""
    height, width = mask.shape
    x1, y1, x2, y2 = (round(v) for v in xyxy)
    left, top = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return np.asarray(
        mask[top : max(y2, top + 1), left : max(x2, left + 1)], bool
    )
