"""Class rows: which of upstream's logits are ours, and back.

Upstream trains K + 1 logits for K classes, the last one a spare that no
object ever has. Its COCO models differ: logit i is COCO's category id i, so
there are 91 logits, and those of id 0 and of the ten ids that COCO does not
use are spare. Ours are the K classes and nothing else.
"""

from collections.abc import Iterable, Sequence

from rfdetr_mm_light.errors import InputError

COCO_CLASSES: tuple[str, ...] = (
    'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train',
    'truck', 'boat', 'traffic light', 'fire hydrant', 'stop sign',
    'parking meter', 'bench', 'bird', 'cat', 'dog', 'horse', 'sheep', 'cow',
    'elephant', 'bear', 'zebra', 'giraffe', 'backpack', 'umbrella', 'handbag',
    'tie', 'suitcase', 'frisbee', 'skis', 'snowboard', 'sports ball', 'kite',
    'baseball bat', 'baseball glove', 'skateboard', 'surfboard',
    'tennis racket', 'bottle', 'wine glass', 'cup', 'fork', 'knife', 'spoon',
    'bowl', 'banana', 'apple', 'sandwich', 'orange', 'broccoli', 'carrot',
    'hot dog', 'pizza', 'donut', 'cake', 'chair', 'couch', 'potted plant',
    'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse', 'remote',
    'keyboard', 'cell phone', 'microwave', 'oven', 'toaster', 'sink',
    'refrigerator', 'book', 'clock', 'vase', 'scissors', 'teddy bear',
    'hair drier', 'toothbrush',
)  # fmt: skip
"""COCO's 80 object classes in the order of their category ids."""

_COCO_UNUSED_IDS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)

COCO_NUM_ROWS = 91

COCO_CATEGORY_IDS: tuple[int, ...] = tuple(
    i for i in range(COCO_NUM_ROWS) if i not in _COCO_UNUSED_IDS
)
"""Category id, which is upstream's logit, of each of ``COCO_CLASSES``."""


def choose_upstream_rows(
    num_rows: int, class_names: Sequence[str] | None
) -> tuple[list[int], tuple[str, ...]]:
    """Say which of upstream's class rows are classes.

    Args:
        num_rows: Rows of the file's class head.
        class_names: The class names that the file holds. None or empty if it
            holds none.

    Returns:
        The rows in the order of our classes, and the names of the classes.
        91 rows without names, or with COCO's, are COCO's category ids.
        Otherwise row i is the i-th name, and the rows after the last name
        are spare; a file without names has one spare row and gets the names
        ``class_0``, ``class_1``, …

    Raises:
        InputError: If there are more names than rows.

    Source: rfdetr 1.11.2, detr.py RFDETR.predict (how a logit gets its name).
    """
    names = as_names(class_names)
    if num_rows == COCO_NUM_ROWS and names in ((), COCO_CLASSES):
        return list(COCO_CATEGORY_IDS), COCO_CLASSES
    if not names:
        names = generic_class_names(num_rows - 1)
    if len(names) > num_rows:
        raise InputError(
            f'The file names {len(names)} classes and has {num_rows} class '
            'rows, so some names have no row. Pass the names that belong to '
            'its rows.'
        )
    return list(range(len(names))), names


def as_names(names: str | Iterable[str] | None) -> tuple[str, ...]:
    """Take one name for a list of one, as in ``metainfo.classes='cell'``.

    Args:
        names: Names, one name, or None.

    Returns:
        The names; empty if there are none.
    """
    if isinstance(names, str):
        return (names,)
    # Of a file, maybe anything; a tensor has no truth value.
    is_many = isinstance(names, Iterable) and not hasattr(names, 'shape')
    return tuple(names) if is_many else ()


def generic_class_names(num_classes: int) -> tuple[str, ...]:
    """Return ``('class_0', 'class_1', …)``."""
    return tuple(f'class_{i}' for i in range(num_classes))


def default_class_names(num_classes: int) -> tuple[str, ...]:
    """Name the classes of a model that says no names.

    Args:
        num_classes: How many there are.

    Returns:
        COCO's names for 80 classes, else ``('class_0', 'class_1', …)``.
    """
    if num_classes == len(COCO_CLASSES):
        return COCO_CLASSES
    return generic_class_names(num_classes)


def choose_our_rows(
    num_classes: int, class_names: Sequence[str] | None
) -> tuple[list[int], int, tuple[str, ...]]:
    """Say where our classes go in an upstream file.

    Args:
        num_classes: Our class rows.
        class_names: Their names, None if they are not known.

    Returns:
        Upstream's row of each of our classes; the number of upstream's rows:
        91 for COCO's classes in COCO's order, else one more than ours; and
        the names: those given, COCO's for 80 classes without names, else
        ``class_0``, ``class_1``, …

    Raises:
        InputError: If the number of names differs from that of the rows, or
            if 90 unnamed classes would be taken for COCO's ids when read.
    """
    names = as_names(class_names)
    if names and len(names) != num_classes:
        raise InputError(
            f'{len(names)} class names were given for {num_classes} class '
            'rows. Give one name per row, in the order of the labels.'
        )
    if not names and num_classes + 1 == COCO_NUM_ROWS:
        raise InputError(
            '90 classes make 91 upstream rows, which without class names '
            "would be read as COCO's. Give class_names."
        )
    names = names or default_class_names(num_classes)
    if names == COCO_CLASSES:
        return list(COCO_CATEGORY_IDS), COCO_NUM_ROWS, COCO_CLASSES
    return list(range(num_classes)), num_classes + 1, names
