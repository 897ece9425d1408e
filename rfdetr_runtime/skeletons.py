"""Keypoints painted into pictures, with the lines that connect them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

RADIUS = 3  # px
# Of keypoints by their number, over and over again
COLOURS = (
    '#e6194b',
    '#3cb44b',
    '#4363d8',
    '#ffe119',
    '#42d4f4',
    '#f032e6',
    '#f58231',
    '#bfef45',
)

PERSON_KEYPOINTS = 17
# Of COCO's people, keypoints counted from 0
PERSON_LINKS = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12)),
    *((5, 6), (5, 7), (6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2)),
    *((1, 3), (2, 4), (3, 5), (4, 6)),
)


def paint_skeletons(
    image: np.ndarray,
    keypoints: np.ndarray,
    labels: Sequence[int],
    links: Sequence[Sequence[tuple[int, int]]] | None = None,
) -> np.ndarray:
    """Paint the keypoints of objects.

    Args:
        image: uint8 RGB, shape (h, w, 3).
        keypoints: (x, y, visibility) in pixels, shape (n, num_keypoints, 3):
            2 is painted as a dot, 1 as a ring, 0 not at all.
        labels: Classes of the objects, shape (n,).
        links: For each class, the pairs of keypoints that a line connects; if
            None, ``PERSON_LINKS`` for 17 keypoints and none for others.

    Returns:
        A new picture.
    """
    if links is None and keypoints.shape[1] == PERSON_KEYPOINTS:
        links = [PERSON_LINKS] * (1 + max(labels, default=0))
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for points, label in zip(keypoints.tolist(), labels):
        for pair in links[label] if links else ():
            ends = [points[k] for k in pair]
            if all(visibility for *_, visibility in ends):
                draw.line([(x, y) for x, y, _ in ends], fill='white', width=1)
        for k, (x, y, visibility) in enumerate(points):
            if visibility:
                colour = COLOURS[k % len(COLOURS)]
                draw.ellipse(
                    (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS),
                    fill=colour if visibility > 1 else None,
                    outline=colour,
                )
    return np.asarray(picture)
