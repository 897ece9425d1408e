"""What training makes of one annotation: kept, left out, ignored."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from .coco_file import visible_box
from .coco_masks import check_mask

EMPTY = 'without area'
OUTSIDE = 'wholly outside their image'
_ROUNDING_PX = 0.01
_MAX_SHARE_OF_CROWDS = 0.1  # COCO's own files have 0.01


class JudgedObject(NamedTuple):
    """What is used of an annotation; there may be millions.

    Args:
        box: (x1, y1, x2, y2) in pixels, cut at the borders of the image;
            None for an object that is left out.
        problem: Why it is left out, None if it is not: ``EMPTY``,
            ``OUTSIDE``, or of ``coco_masks`` ``MISSING`` or ``DEGENERATE``.
        is_cut: Whether the box was cut at the border of the image.
        is_crowd: Whether it counts as a crowd.
        is_ignored: Whether it is not trained on, as a crowd or because it
            is marked ``ignore``.
        segmentation: Its mask, if it has one.
        num_dropped: Polygons without area, left out of its mask.
    """

    box: tuple[float, float, float, float] | None
    problem: str | None
    is_cut: bool = False
    is_crowd: bool = False
    is_ignored: bool = False
    segmentation: Any = None
    num_dropped: int = 0


def judge_object(
    annotation: dict[str, Any],
    image: dict[str, Any],
    path: str,
    with_mask: bool = False,
    crowd_as_object: bool = False,
) -> JudgedObject:
    """Apply the rules of training to one annotation.

    Args:
        annotation: An entry of a
            :class:`~rfdetr_mm.datasets.coco_file.CocoFile`.
        image: Its image, with ``height`` and ``width`` in pixels.
        path: The annotation file, for errors.
        with_mask: Whether it needs a mask.
        crowd_as_object: Whether ``iscrowd`` is not looked at.

    Returns:
        What is used of it.

    Raises:
        InputError: If masks are needed and the mask has an unknown form, or
            is of an image of another size.

    Source: boxes as in rfdetr 1.11.2, datasets/coco.py, ConvertCoco
        (Apache-2.0).
    """
    x, y, w, h = annotation['bbox']
    box = visible_box(annotation['bbox'], image)
    if box is None:
        return JudgedObject(None, EMPTY if w <= 0 or h <= 0 else OUTSIDE)
    segmentation, num_dropped = annotation.get('segmentation'), 0
    if with_mask:
        mask = check_mask(annotation, image, path)
        if mask.problem:
            return JudgedObject(None, mask.problem)
        segmentation, num_dropped = mask.segmentation, mask.num_dropped
    whole = (x, y, x + w, y + h)
    is_crowd = bool(annotation['iscrowd'] and not crowd_as_object)
    return JudgedObject(
        box=box,
        problem=None,
        is_cut=box != whole and _moved_px(box, whole) > _ROUNDING_PX,
        is_crowd=is_crowd,
        is_ignored=is_crowd or bool(annotation.get('ignore', 0)),
        segmentation=segmentation,
        num_dropped=num_dropped,
    )


def many_crowds(num_crowds: int, num_objects: int) -> bool:
    """Whether so many objects are crowds that an exporter's habit is likely.

    Args:
        num_crowds: Objects that are not trained on because they are crowds.
        num_objects: All objects that are not left out.
    """
    return num_crowds > _MAX_SHARE_OF_CROWDS * num_objects


def _moved_px(box: Sequence[float], whole: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(box, whole))
