"""Keypoints of detections, from a file's output to pixels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rfdetr_mm_light.errors import InputError

if TYPE_CHECKING:
    import supervision

    from .detections import Detections

# What a keypoint has, by number: x and y, normalised; the logit of "an
# annotator could find it"; log l11, l21 and log l22 of the lower triangle L,
# where L @ L.T is the inverse of the covariance of x and y. Number 3 says
# whether it is hidden, number 7 is part of the class's logit already.
FINDABLE, LOG_L11, L21, LOG_L22, NUM_CHANNELS = 2, 4, 5, 6, 8
SMALLEST = 1e-12  # whose logarithm is taken
TRACE_ALPHA = 0.2  # of rfdetr's published model

KEYPOINTS = 'keypoints'
PRECISION = 'keypoint_precision_cholesky'


def slots_of_classes(
    name: str, counts: Sequence[int] | None, num_slots: int | None
) -> np.ndarray:
    """Where a class has keypoints among those that a file gives.

    Args:
        name: The name of the file, for messages.
        counts: Keypoints of each class; None if the file does not say, as
            rfdetr's own do not.
        num_slots: Keypoints that the file gives for each object.

    Returns:
        True where a class has a keypoint, shape (num_classes, largest).

    Raises:
        InputError: If the numbers do not fit each other.
    """
    if counts is None and num_slots is None:
        raise InputError(
            f'{name} does not say how many keypoints its classes have, as '
            'files of rfdetr with batches of any size do not: give them by '
            'load(…, num_keypoints=[…]), one number for each class'
        )
    if counts is None:
        counts = [num_slots]  # those of a single class
    if any(type(n) is not int or n < 0 for n in counts) or not any(counts):
        raise InputError(
            'num_keypoints must be natural numbers, one for each class, and '
            f'not all 0, got {list(counts)} for {name}'
        )
    largest = max(counts)
    if num_slots is not None and len(counts) * largest != num_slots:
        raise InputError(
            f'{name} has {num_slots} keypoints for each object, but '
            f'num_keypoints={list(counts)} makes {len(counts)} classes with '
            f'room for {largest}, {len(counts) * largest}: give the numbers '
            'of the model by load(…, num_keypoints=[…])'
        )
    return np.arange(largest) < np.array(counts)[:, None]


def lower_scores(
    scores: np.ndarray, keypoints: np.ndarray, active: np.ndarray, alpha: float
) -> np.ndarray:
    """Lower the scores of objects with uncertain keypoints.

    The new score is the sigmoid of ``log(score) - alpha * T``. T is the
    logarithm of the mean trace of the keypoints' covariances, each weighted
    by its probability to be findable; 0 for a class without keypoints.

    Args:
        scores: Shape (n,).
        keypoints: Keypoints of the objects' classes, shape (n, num_keypoints,
            8).
        active: Whether the class has the keypoint, shape (n, num_keypoints).
        alpha: How much uncertainty counts; 0 leaves the scores as they are.

    Returns:
        float32, shape (n,), below 1.

    Source: rfdetr 1.11.2, PostProcess._apply_keypoint_trace_fusion.
    """
    if alpha == 0:
        return scores
    values = keypoints.astype(np.float32)
    log_l11, log_l22 = values[..., LOG_L11], values[..., LOG_L22]
    l21 = np.maximum(np.abs(values[..., L21]), np.float32(SMALLEST))
    log_traces = _log_sum_exp(
        np.stack(
            [
                -2 * log_l11,
                -2 * log_l22,
                2 * np.log(l21) - 2 * log_l11 - 2 * log_l22,
            ],
            axis=-1,
        )
    )
    weights = np.maximum(_sigmoid(values[..., FINDABLE]), SMALLEST)
    weights = np.where(active, np.log(weights), -np.inf)
    has_any = active.any(axis=-1)
    with np.errstate(invalid='ignore'):  # of classes without keypoints
        log_mean = _log_sum_exp(log_traces + weights) - _log_sum_exp(weights)
    log_mean = np.where(has_any, log_mean, 0.0)
    with np.errstate(divide='ignore', over='ignore'):
        lowered = _sigmoid(np.log(scores) - alpha * log_mean)
    below_one = 1 - np.finfo(np.float32).eps / 2
    return np.minimum(lowered, below_one).astype(np.float32)


def add_keypoints(
    detections: 'Detections', keypoints: np.ndarray, active: np.ndarray
) -> None:
    """Give detections the keypoints of their classes, in place.

    Args:
        detections: Detections of an image, with ``source_shape``.
        keypoints: Keypoints of their classes, shape (n, num_keypoints, 8).
        active: Whether the class has the keypoint, shape (n, num_keypoints).

    Their ``data`` get ``keypoints``, (x, y) in pixels and how likely an
    annotator would find it, all 0 where the class has no such keypoint, shape
    (n, num_keypoints, 3); ``keypoint_precision_cholesky``, (log l11, l21, log
    l22) in units of the image's size, shape (n, num_keypoints, 3), and
    ``covariance`` in square pixels, shape (n, num_keypoints, 2, 2), both NaN
    there.

    Source: rfdetr 1.11.2, PostProcess._decode_keypoints_for_image.
    """
    sizes_wh = detections.data['source_shape'][:, None, ::-1]
    values = keypoints.astype(np.float32)
    places = values[..., :2] * sizes_wh.astype(np.float32)
    scores = _sigmoid(values[..., FINDABLE : FINDABLE + 1])
    precision = values[..., LOG_L11 : LOG_L22 + 1]
    detections.data.update(
        {
            KEYPOINTS: np.concatenate([places, scores], axis=-1)
            * active[..., None],
            PRECISION: np.where(active[..., None], precision, np.nan),
        }
    )


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


def to_key_points(detections: 'Detections') -> 'supervision.KeyPoints':
    """Turn detections with keypoints into supervision's KeyPoints.

    Args:
        detections: Detections with what :func:`add_keypoints` adds.

    Returns:
        ``xy`` in pixels, ``keypoint_confidence``, ``detection_confidence``,
        ``class_id``, ``visible`` (where the class has the keypoint), and in
        ``data`` besides those of the detections ``xyxy``,
        ``keypoint_precision_cholesky``, ``covariance`` in square pixels
        (both NaN where the class has no such keypoint) and, if the detections
        have their image, ``source_image``, once for each row.

    Source: rfdetr 1.11.2, detr.py, RFDETR.predict.
    """
    from supervision import KeyPoints

    data = dict(detections.data, xyxy=detections.xyxy.astype(np.float32))
    points = data.pop(KEYPOINTS)
    if 'source_image' in detections.metadata:
        source = detections.metadata['source_image']
        data['source_image'] = [source] * len(detections)
    if len(detections):
        image_hw = tuple(data['source_shape'][0].tolist())
        data['covariance'] = pixel_covariances(data[PRECISION], image_hw)
    return KeyPoints(
        xy=points[..., :2],
        keypoint_confidence=points[..., 2],
        detection_confidence=detections.confidence.astype(np.float32),
        class_id=detections.class_id.astype(int),
        visible=points[..., 2] > 0,
        data=data,
    )


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over='ignore'):  # e^x of a very small score is infinite
        return 1 / (1 + np.exp(-logits))


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    """Logarithm of the sum of the exponentials in the last dimension."""
    largest = values.max(axis=-1, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide='ignore'):
        sums = np.log(np.exp(values - largest).sum(axis=-1))
    return sums + largest[..., 0]
