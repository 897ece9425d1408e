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


def paint_skeletons(
    image: np.ndarray,
    keypoints: np.ndarray,
    labels: Sequence[int],
    links: Sequence[Sequence[tuple[int, int]]] = (),
) -> np.ndarray:
    """Paint the keypoints of objects.

    Args:
        image: uint8 RGB, shape (h, w, 3).
        keypoints: (x, y, visibility) in pixels, shape (n, num_keypoints, 3):
            2 is painted as a dot, 1 as a ring, 0 not at all.
        labels: Classes of the objects, shape (n,).
        links: For each class, the pairs of keypoints that a line connects.

    Returns:
        A new picture.
    """
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
