"""Keypoint schemas in checkpoints: whose keypoints the rows are.

Upstream keeps the schema as a mask, one row for each class, True for each of
its keypoints. Older files have a first row without any, the background; then
the class rows begin with the background as well. Ours begin with the first
class.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.data_sets import as_names

from .class_rows import COCO_CLASSES, generic_class_names, take_rows

UPSTREAM_SCHEMA = '_kp_active_mask'
UPSTREAM_ATTENTION_MASK = 'transformer.decoder.keypoint_class_mask'
OUR_SCHEMA = 'bbox_head.active_keypoints'
KEYPOINT_ROW_WEIGHTS = (
    'bbox_head.keypoint_queries.queries',
    'bbox_head.proposal_keypoint_queries.queries',
    'bbox_head.decoder.keypoint_pos',
)
"""Our weights with a row for each keypoint of all classes."""

_PRECISION_WEIGHTS = (
    ('bbox_head.keypoint_branch.layers.2', 0),
    ('bbox_head.proposal_keypoint_branch.2', 1),
)
_PRECISION_ROWS = slice(4, 7)  # log l11, l21, log l22
_BACKGROUND_NAMES = ('', 'background', '__background__')
_PERSON_KEYPOINTS = 17


def counts_of_mask(mask: Tensor) -> tuple[int, ...]:
    """Return how many keypoints each class has."""
    return tuple(mask.sum(dim=1).tolist())


def mask_of_counts(counts: Sequence[int]) -> Tensor:
    """Return the mask that says how many keypoints each class has.

    Args:
        counts: Keypoints of each class.

    Returns:
        Shape (num_classes, largest count), bool.
    """
    columns = torch.arange(max(counts, default=0))
    return columns < torch.tensor(counts).unsqueeze(1)


def upstream_attention_mask(counts: Sequence[int]) -> Tensor:
    """Return the mask of keypoints that must not look at each other.

    Args:
        counts: Keypoints of each class.

    Returns:
        True for keypoints of two classes, with a first row and column for
        the instance, shape (1 + sum(counts), 1 + sum(counts)).

    Source: rfdetr 1.11.2, LWDETR._create_keypoint_class_mask.
    """
    classes = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    mask = torch.zeros(1 + len(classes), 1 + len(classes), dtype=torch.bool)
    mask[1:, 1:] = classes != classes.unsqueeze(1)
    return mask


def choose_keypoint_rows(
    num_rows: int, counts: Sequence[int], class_names: Sequence[str] | None
) -> tuple[list[int], tuple[str, ...]]:
    """Say which class rows of an upstream keypoint file are classes.

    Args:
        num_rows: Rows of the file's class head.
        counts: Keypoints of each row of the file's schema.
        class_names: The class names that the file holds. None or empty if it
            holds none; COCO's 80 count as none, as upstream writes them into
            files that know people alone.

    Returns:
        The rows in the order of our classes, and the names of the classes.
        After a first row without keypoints, the background, the rows with
        keypoints are the classes, unless there are names for all rows.
        Without a background the rows are those of the names. A file without
        names has the classes of its schema; one of 17 keypoints is a person.

    Raises:
        InputError: If the names fit no such reading.

    Source: rfdetr 1.11.2, detr.py RFDETR.predict (names of labels).
    """
    names = as_names(class_names)
    if names == COCO_CLASSES:
        names = ()
    rows = [row for row, count in enumerate(counts) if count]
    if counts[0] == 0:
        if names and names[0] in _BACKGROUND_NAMES:
            names = names[1:]
        if len(names) == len(counts):
            rows = list(range(len(counts)))
    elif names:
        rows = list(range(len(names)))
        if len(counts) > len(names) or len(names) > num_rows:
            rows = []
    else:
        rows = list(range(len(counts)))
    if not names:
        names = generic_class_names(len(rows))
        if [counts[row] for row in rows] == [_PERSON_KEYPOINTS]:
            names = ('person',)
    if len(names) != len(rows):
        raise InputError(
            f'The file names {len(names)} classes, has {num_rows} class rows '
            f'and keypoints for {list(counts)}. Pass the names of the classes '
            'with keypoints, or of all rows of the schema.'
        )
    return rows, names


def rows_of_counts(
    counts: Sequence[int], rows: Sequence[int]
) -> tuple[int, ...]:
    """Return the keypoints of chosen class rows, 0 beyond the schema."""
    return tuple(counts[row] if row < len(counts) else 0 for row in rows)


def take_keypoint_rows(
    state_dict: Mapping[str, Tensor], rows: Sequence[int], prefix: str = ''
) -> dict[str, Tensor]:
    """Build the keypoint rows of our weights anew for chosen classes.

    Args:
        state_dict: Our weights of a keypoint model.
        rows: The old class of each new one.
        prefix: What stands before our keys, e.g. ``'module.'``.

    Returns:
        A new state dict; the other weights are the same objects.
    """
    taken = dict(state_dict)
    counts = counts_of_mask(taken[prefix + OUR_SCHEMA])
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    places = [
        place
        for row in rows
        for place in range(ends[row] - counts[row], ends[row])
    ]
    if places:
        for name in KEYPOINT_ROW_WEIGHTS:
            taken[prefix + name] = take_rows(taken[prefix + name], places, 0)
    taken[prefix + OUR_SCHEMA] = mask_of_counts([counts[row] for row in rows])
    return taken


def resize_keypoint_rows(
    state_dict: Mapping[str, Tensor], active: Tensor, prefix: str = ''
) -> dict[str, Tensor]:
    """Re-initialise the keypoint rows of our weights for another schema.

    The old rows are repeated and cut, as those of the classes are.

    Args:
        state_dict: Our weights of a keypoint model.
        active: Schema of the model, shape (num_classes, largest count).
        prefix: What stands before our keys, e.g. ``'module.'``.

    Returns:
        A new state dict; the other weights are the same objects.

    Source: rfdetr 1.11.2, LWDETR.reinitialize_keypoint_head.
    """
    resized = dict(state_dict)
    total = int(active.sum())
    for name in KEYPOINT_ROW_WEIGHTS:
        old = resized[prefix + name]
        rows = [i % len(old) for i in range(total)]
        resized[prefix + name] = take_rows(old, rows, 0)
    resized[prefix + OUR_SCHEMA] = active.bool().cpu()
    return resized


def reset_precision(
    state_dict: Mapping[str, Tensor], prefix: str = ''
) -> dict[str, Tensor]:
    """Let a keypoint model be equally sure of all keypoints.

    How sure a model is of its keypoints is learned anew on other data.

    Args:
        state_dict: Our weights of a keypoint model.
        prefix: What stands before our keys, e.g. ``'module.'``.

    Returns:
        A new state dict, in which the last layers' rows of the triangle's
        three numbers are zero; the other weights are the same objects.

    Source: rfdetr 1.11.2, LWDETR.reset_keypoint_gaussian_parameters.
    """
    reset = dict(state_dict)
    for name, dim in _PRECISION_WEIGHTS:
        for kind in ('weight', 'bias'):
            key = f'{prefix}{name}.{kind}'
            reset[key] = reset[key].clone()
            reset[key].movedim(dim, 0)[_PRECISION_ROWS] = 0.0
    return reset
