"""Keypoints as supervision's KeyPoints, with their uncertainty."""

from typing import TYPE_CHECKING

import numpy as np
from mmengine.structures import InstanceData

if TYPE_CHECKING:
    from supervision import Detections, KeyPoints


def pixel_covariances(
    precision: np.ndarray, image_hw: tuple[int, int]
) -> np.ndarray:
    """How uncertain the places of keypoints are, in pixels.

    Args:
        precision: (log l11, l21, log l22) of the lower triangle L in units of
            the image's size, where L @ L.T is the inverse of the covariance,
            shape (n, num_keypoints, 3).
        image_hw: (height, width) of the image in pixels.

    Returns:
        Covariances of (x, y) in square pixels, float32, shape (n,
        num_keypoints, 2, 2); NaN where a number is not finite.

    Source: rfdetr 1.11.2, utilities/keypoints.py,
        precision_cholesky_to_pixel_covariance.
    """
    log_l11, l21, log_l22 = np.moveaxis(precision.astype(np.float64), -1, 0)
    with np.errstate(all='ignore'):
        # The columns of inverse(L).T, each times the side in pixels
        height, width = image_hw
        a = width * np.exp(-log_l11)
        b = -width * l21 * np.exp(-log_l11 - log_l22)
        c = height * np.exp(-log_l22)
        covariance = np.stack(
            [
                np.stack([a * a + b * b, b * c], -1),
                np.stack([b * c, c * c], -1),
            ],
            axis=-2,
        )
        covariance += 0.0  # no negative zeros
        covariance = covariance.astype(np.float32)
    is_finite = np.isfinite(precision).all(-1) & np.isfinite(covariance).all(
        (-2, -1)
    )
    covariance[~is_finite] = np.nan
    return covariance


def to_key_points(
    detections: 'Detections',
    found: InstanceData,
    image_hw: tuple[int, int],
    source: np.ndarray | None,
) -> 'KeyPoints':
    """Turn detections with keypoints into supervision's KeyPoints.

    Args:
        detections: Their boxes, scores, labels and ``data``.
        found: Detections with what
            :func:`~rfdetr_mm.models.layers.keypoint_scores.add_keypoints`
            adds.
        image_hw: (height, width) of the image in pixels.
        source: The image, if it is wanted.

    Returns:
        ``xy`` in pixels, ``keypoint_confidence``, ``detection_confidence``,
        ``class_id``, ``visible`` (where the class has the keypoint), and in
        ``data`` besides those of the detections ``xyxy``,
        ``keypoint_precision_cholesky``, ``covariance`` in square pixels
        (both NaN where the class has no such keypoint) and, if it is wanted,
        ``source_image``, once for each row.

    Source: rfdetr 1.11.2, detr.py, RFDETR.predict.
    """
    from supervision import KeyPoints

    precision = found.keypoint_precision.cpu().numpy()
    confidence = found.keypoint_scores.cpu().numpy()
    data = dict(
        detections.data,
        keypoint_precision_cholesky=precision,
        xyxy=detections.xyxy.astype(np.float32),
    )
    if source is not None:
        data['source_image'] = [source] * len(detections)
    if len(detections):
        data['covariance'] = pixel_covariances(precision, image_hw)
    return KeyPoints(
        xy=found.keypoints.cpu().numpy(),
        keypoint_confidence=confidence,
        detection_confidence=detections.confidence.astype(np.float32),
        class_id=detections.class_id.astype(int),
        visible=confidence > 0,
        data=data,
    )
