"""What every way to predict shows unless it is told otherwise."""

SCORE_THRESHOLD = 0.5
"""Detections with a higher score are shown, 0 to 1."""


def score_label(name: str, score: float) -> str:
    """The label of a detection in a picture, as mmdet's visualizer has it.

    Args:
        name: The class.
        score: From 0 to 1; a picture shows it in percent.
    """
    return f'{name}: {100 * score:.1f}'
