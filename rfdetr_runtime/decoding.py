"""From a file's outputs to the detections of an image."""

from collections.abc import Mapping, Sequence

import numpy as np

from rfdetr_mm_light.class_rows import choose_upstream_rows
from rfdetr_mm_light.errors import InputError

from .detections import Detections
from .facts import FileFacts
from .keypoints import KEYPOINTS, add_keypoints, lower_scores
from .resizing import resize_masks


def name_classes(
    name: str,
    facts: FileFacts,
    output_shapes: Mapping[str, Sequence[int | None]],
) -> tuple[tuple[str, ...], list[int] | None]:
    """Names of the classes, and where they are among raw logits.

    Args:
        name: The name of the file, for the message.
        facts: What it says.
        output_shapes: Name of an output to its shape.

    Returns:
        The names, and the row of each class in raw logits; None for the
        layout ``'end2end'``, which has labels.

    Raises:
        InputError: If there are other names than class rows.
    """
    if facts.layout == 'end2end':
        return facts.class_names or (), None
    num_rows = output_shapes['labels'][-1]
    try:
        rows, names = choose_upstream_rows(num_rows, facts.class_names)
    except ValueError as error:
        raise InputError(f'{name}: {error}') from error
    return names, rows


def read_boxes(
    outputs: Sequence[np.ndarray],
    facts: FileFacts,
    rows: Sequence[int] | None,
    input_hw: tuple[int, int],
    scale_wh: tuple[float, float],
    threshold: float | None = None,
    max_per_img: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and labels of an image, best first.

    Args:
        outputs: The outputs for one image: ``dets`` and ``labels``.
        facts: The file's layout.
        rows: The row of each class in raw logits, see :func:`name_classes`.
        input_hw: (height, width) of the input in pixels.
        scale_wh: Pixels of the input for one of the image, (in x, in y).
        threshold: Scores must be greater; any if None.
        max_per_img: At most so many, for ``'raw'``; the file's own number, or
            that of its queries, if None.

    Returns:
        Boxes, (x1, y1, x2, y2) in pixels of the image, shape (n, 4); scores
        (n,); labels (n,), int64; and the row of each in the masks, (n,).
    """
    dets, labels = outputs[:2]
    if facts.layout == 'raw':
        limit = max_per_img or facts.max_per_img or len(dets)
        corners, scores, labels, queries = best_pairs(
            dets, labels[:, rows], input_hw, threshold, limit
        )
    else:
        corners, scores = dets[:, :4], dets[:, 4]
        labels, queries = labels.astype(np.int64), np.arange(len(dets))
        if threshold is not None:
            kept = scores > threshold
            corners, scores = corners[kept], scores[kept]
            labels, queries = labels[kept], queries[kept]
    scale = np.array([*scale_wh, *scale_wh], dtype=np.float32)
    return corners / scale, scores, labels, queries


def best_pairs(
    boxes: np.ndarray,
    logits: np.ndarray,
    input_hw: tuple[int, int],
    threshold: float | None,
    limit: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The best pairs of a query and a class.

    Args:
        boxes: Normalised (cx, cy, w, h), shape (num_queries, 4).
        logits: Shape (num_queries, num_classes).
        input_hw: (height, width) of the input in pixels.
        threshold: Scores must be greater; any if None.
        limit: At most so many.

    Returns:
        Boxes, (x1, y1, x2, y2) in pixels of the input, shape (n, 4); scores;
        labels, int64; and the query of each, (n,) each.

    Source: rfdetr 1.11.2, models/postprocess.py, PostProcess.
    """
    with np.errstate(over='ignore'):  # e^x of a very small score is infinite
        scores = (1 / (1 + np.exp(-logits))).ravel()
    places = np.arange(len(scores))
    if threshold is not None:
        places = np.flatnonzero(scores > threshold)
    # Stable, so that equal scores keep the order of queries and classes.
    order = places[np.argsort(-scores[places], kind='stable')][:limit]
    queries, labels = np.divmod(order, logits.shape[1])
    height, width = input_hw
    size = np.array([width, height, width, height], dtype=np.float32)
    chosen = boxes[queries]
    half = chosen[:, 2:] * np.float32(0.5)
    corners = np.concatenate(
        [chosen[:, :2] - half, chosen[:, :2] + half], axis=1
    )
    corners = (corners * size).clip(0, size)
    return corners, scores[order], labels.astype(np.int64), queries


def decode(
    name: str,
    outputs: Sequence[np.ndarray],
    facts: FileFacts,
    rows: Sequence[int] | None,
    class_names: Sequence[str],
    input_hw: tuple[int, int],
    image_hw: tuple[int, int],
    threshold: float,
    active: np.ndarray | None = None,
) -> Detections:
    """Detections of one image above a threshold.

    Args:
        name: The name of the file, for messages.
        outputs: The outputs for one image: ``dets``, ``labels`` and, if there
            are any, ``masks`` or ``keypoints``.
        facts: What the file says.
        rows: See :func:`name_classes`.
        class_names: See :func:`name_classes`.
        input_hw: (height, width) of the input in pixels.
        image_hw: (height, width) of the image in pixels.
        threshold: Scores must be greater.
        active: Where the classes of a file with keypoints have some, see
            :func:`~.keypoints.slots_of_classes`.

    Returns:
        The detections, without the image; best first, but for keypoints in
        the order of the scores before uncertainty changed them.

    Raises:
        InputError: If outputs are not finite.
    """
    check_finite(name, outputs[:2])
    scale_wh = (input_hw[1] / image_hw[1], input_hw[0] / image_hw[0])
    has_keypoints = facts.task == KEYPOINTS
    bboxes, scores, labels, queries = read_boxes(
        outputs,
        facts,
        rows,
        input_hw,
        scale_wh,
        # Uncertain keypoints lower scores first.
        None if has_keypoints else threshold,
    )
    masks = points = None
    if len(outputs) > 2:
        others = outputs[2][queries]
        check_finite(name, [others])
        if has_keypoints:
            points, is_there = _of_classes(others, labels, active)
            scores = lower_scores(scores, points, is_there, facts.trace_alpha)
        else:
            masks = resize_masks(others, image_hw)
    names = [
        class_names[i] if i < len(class_names) else f'class_{i}'
        for i in labels.tolist()
    ]
    found = Detections(
        xyxy=bboxes,
        confidence=scores,
        class_id=labels,
        mask=masks,
        data=dict(
            class_name=np.array(names, dtype=object),
            source_shape=np.tile(
                np.array(image_hw, dtype=np.int64), (len(labels), 1)
            ),
        ),
    )
    if not has_keypoints:
        return found
    add_keypoints(found, points, is_there)
    return found[scores > threshold]


def _of_classes(
    keypoints: np.ndarray, labels: np.ndarray, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The keypoints of each object's class, and which of them it has.

    Args:
        keypoints: Keypoints of all classes, shape (n, num_classes * largest,
            8).
        labels: Shape (n,).
        active: Shape (num_classes, largest).

    Returns:
        Shapes (n, largest, 8) and (n, largest); a class without a row in
        ``active`` has none.
    """
    rows = np.arange(len(labels))
    known = np.minimum(labels, len(active) - 1)
    own = keypoints.reshape(len(labels), *active.shape, -1)[rows, known]
    return own, active[known] & (labels == known)[:, None]


def check_finite(name: str, outputs: Sequence[np.ndarray]) -> None:
    """Refuse outputs that are not numbers.

    Raises:
        InputError: If one is not.
    """
    if not all(np.isfinite(output).all() for output in outputs):
        raise InputError(
            f'{name} gave values that are not finite (NaN or infinite) for an '
            'image: its weights are broken, or its precision (such as fp16) '
            'is too small for them. Export the model again, in fp32.'
        )
