"""What a file's metadata mean for its inputs and outputs."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rfdetr_mm_light.errors import InputError

from .keypoints import KEYPOINTS, TRACE_ALPHA
from .resizing import KERNELS, PREDICT

DETECTION, INSTANCE_SEG = 'detection', 'instance-seg'
OUTPUTS = {
    DETECTION: ('dets', 'labels'),
    INSTANCE_SEG: ('dets', 'labels', 'masks'),
    KEYPOINTS: ('dets', 'labels', 'keypoints'),
}
"""Task to the names of the outputs that this package reads, in order."""

LAYOUTS = ('end2end', 'raw')
SAID = ('class_names', 'mean', 'std', 'channel_order', 'resize_kernel')
"""What the metadata of our own files always say."""

# Of ImageNet, on values from 0 to 255, in RGB; all of upstream's models.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class FileFacts:
    """What must be known to use a file.

    Attributes:
        task: A key of ``OUTPUTS``.
        layout: ``'end2end'``, the best detections with boxes in pixels of the
            input, or ``'raw'``, the network's boxes and logits.
        class_names: Number i is the label i; None if the file does not say.
        mean: The mean of each channel, from 0 to 255, in the order of the
            input.
        std: The standard deviation of each channel, from 0 to 255.
        channel_order: ``'RGB'`` or ``'BGR'``, of the input.
        resize_kernel: One of ``KERNELS``.
        max_per_img: Detections of an image at most, for ``'raw'``; None for
            as many as there are queries.
        precision: Such as ``'fp32'``.
        num_keypoints: Keypoints of each class; None if there are none, or
            the file does not say.
        trace_alpha: How much uncertain keypoints lower a score.
    """

    task: str = DETECTION
    layout: str = 'end2end'
    class_names: tuple[str, ...] | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channel_order: str = 'RGB'
    resize_kernel: str = PREDICT
    max_per_img: int | None = None
    precision: str = 'fp32'
    num_keypoints: tuple[int, ...] | None = None
    trace_alpha: float = TRACE_ALPHA


def read_facts(
    name: str,
    texts: Mapping[str, str],
    output_shapes: Mapping[str, Sequence[int | None]],
) -> FileFacts:
    """Interpret a file's metadata, and what its outputs show without them.

    Args:
        name: The name of the file, for messages.
        texts: Its metadata.
        output_shapes: Name of an output to its shape.

    Returns:
        The facts. What is not said is as in rfdetr 1.11.2's own exports, with
        a warning in one line.

    Raises:
        InputError: If the file is of a task that is not known here, or its
            metadata cannot be read.
    """
    task = _task(name, texts, output_shapes)
    facts = FileFacts(
        task=task,
        layout=texts.get('layout') or _layout(name, output_shapes['dets']),
    )
    said = {
        field: _value(name, field, texts[field])
        for field in (
            *('class_names', 'mean', 'std', 'max_per_img'),
            *('num_keypoints', 'trace_alpha'),
        )
        if field in texts
    }
    said = {k: tuple(v) if type(v) is list else v for k, v in said.items()}
    for field in ('channel_order', 'resize_kernel', 'precision'):
        if field in texts:
            said[field] = texts[field]
    facts = replace(facts, **said)
    for field, known in (
        ('layout', LAYOUTS),
        ('resize_kernel', KERNELS),
        ('channel_order', ('RGB', 'BGR')),
    ):
        value = getattr(facts, field)
        if value not in known:
            raise InputError(
                f'{name} says {field}={value!r}, known are '
                f'{", ".join(known)}: export it again, or update rfdetr_mm'
            )
    _warn_of_missing(name, texts, facts)
    return facts


def _value(name: str, field: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(
            f'the metadata of {name} cannot be read, {field}={text!r}: export '
            'the model again'
        ) from error


def _task(
    name: str,
    texts: Mapping[str, str],
    output_shapes: Mapping[str, Sequence[int | None]],
) -> str:
    outputs = set(output_shapes)
    task = texts.get('task')
    if task is None:
        task = next(
            (t for t in (INSTANCE_SEG, KEYPOINTS) if OUTPUTS[t][2] in outputs),
            DETECTION,
        )
        if texts.get('layout') == 'features' or 'features' in outputs:
            task = 'features'
    if task == 'features':
        raise InputError(
            f'{name} is an exported backbone: it gives maps, not detections, '
            'so nothing can be predicted, evaluated or painted with it'
        )
    if task not in OUTPUTS:
        raise InputError(
            f'{name} is of the task {task!r}; this version reads '
            f'{", ".join(OUTPUTS)}'
        )
    if not outputs.issuperset(OUTPUTS[task]):
        raise InputError(
            f'{name} is not a detector of RF-DETR: it has the outputs '
            f'{", ".join(sorted(outputs))}, and {", ".join(OUTPUTS[task])} '
            'are needed'
        )
    return task


def _layout(name: str, shape: Sequence[int | None]) -> str:
    numbers = shape[-1] if len(shape) == 3 else None
    if numbers not in (4, 5):
        raise InputError(
            f'{name} is not a detector of RF-DETR: its output dets has the '
            f'shape {tuple(shape)}, but (batch, detections, 5) or (batch, '
            'queries, 4) is needed'
        )
    return 'end2end' if numbers == 5 else 'raw'


def _warn_of_missing(
    name: str, texts: Mapping[str, str], facts: FileFacts
) -> None:
    said = SAID + ('num_keypoints',) * (facts.task == KEYPOINTS)
    missing = [key for key in said if key not in texts]
    if missing:
        warnings.warn(
            f'{name} does not say its {", ".join(missing)}: taken as of '
            f"rfdetr's own exports, which are normalised by ImageNet's mean "
            f'and standard deviation and resized by {PREDICT!r}. Names of '
            'classes can be given by load(…, class_names=[…]), and how many '
            'keypoints they have by num_keypoints=[…].',
            stacklevel=4,
        )
