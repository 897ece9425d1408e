"""From the network's outputs to supervision's results."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from mmengine.structures import InstanceData
from torch import Tensor

from rfdetr_mm.models.dense_heads.detections import best_detections
from rfdetr_mm.models.dense_heads.rfdetr_pose_head import TRACE_ALPHA
from rfdetr_mm.models.layers.full_size_masks import resize_masks
from rfdetr_mm.models.layers.keypoint_schema import KeypointSchema
from rfdetr_mm.models.layers.keypoint_scores import add_keypoints
from rfdetr_runtime import Detections as RuntimeDetections
from rfdetr_runtime.keypoints import KEYPOINTS, PRECISION

if TYPE_CHECKING:
    from supervision import Detections, KeyPoints


def import_supervision() -> type['Detections']:
    """Import supervision's class.

    Raises:
        ImportError: If supervision is not installed, with the way out.
    """
    try:
        from supervision import Detections
    except ImportError as error:
        raise ImportError(
            'predict() returns supervision.Detections, and supervision '
            f'cannot be imported ({error}). Install it: '
            "pip install 'rfdetr_mm[apis]', or pip install supervision"
        ) from error
    return Detections


def detections_of_image(
    outputs: Sequence[Tensor],
    input_hw: tuple[int, int],
    image_hw: tuple[int, int],
    max_per_img: int,
    threshold: float,
    num_keypoints: Sequence[int] | None = None,
    trace_alpha: float = TRACE_ALPHA,
) -> InstanceData:
    """Detections of one image above a threshold.

    Args:
        outputs: Outputs of one image: boxes, normalised (cx, cy, w, h), shape
            (num_queries, 4); logits, shape (num_queries, num_classes); mask
            logits, or padded keypoints, if there are any.
        input_hw: (height, width) in pixels of the network's input.
        image_hw: (height, width) of the image in pixels.
        max_per_img: How many at most.
        threshold: Only detections with a higher score are kept.
        num_keypoints: Keypoints of each class; None for a model without
            keypoints.
        trace_alpha: How much uncertain keypoints lower the score of their
            object.

    Returns:
        ``bboxes`` (x1, y1, x2, y2) in pixels of the image, ``scores``,
        ``labels``, best first, and ``masks`` of the image's size or what
        :func:`~rfdetr_mm.models.layers.keypoint_scores.add_keypoints` adds.
    """
    bboxes, logits, *others = (output.float() for output in outputs)
    scale = [image / net for image, net in zip(image_hw, input_hw)]
    meta = dict(
        img_shape=input_hw,
        ori_shape=image_hw,
        scale_factor=(1 / scale[1], 1 / scale[0]),
    )
    found, queries = best_detections(
        logits, bboxes, meta, max_per_img, rescale=True
    )
    if num_keypoints is not None:
        active = KeypointSchema(tuple(num_keypoints)).active()
        add_keypoints(
            found,
            others.pop()[queries],
            active.to(bboxes.device),
            image_hw[::-1],
            trace_alpha,
        )
    is_finite = found.bboxes.isfinite().all(dim=1) & found.scores.isfinite()
    if not is_finite.all():
        warnings.warn(
            f'{int((~is_finite).sum())} detections of an image have a score '
            'or a box that is not finite and are left out: the weights come '
            'from a training that diverged, or their precision is too low.',
            stacklevel=2,
        )
    kept = is_finite & (found.scores > threshold)
    found = found[kept]
    if others:
        found.masks = resize_masks(others[0][queries[kept]], meta, image_hw)
    return found


def class_names_of(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Names of labels.

    Args:
        labels: 0-based, shape (n,).
        names: The names of the classes.

    Returns:
        Strings as objects, shape (n,); ``''`` where there is no name, with
        a warning, which Python shows once.
    """
    if (labels >= len(names)).any():
        warnings.warn(
            f'There are {len(names)} class names, and detections of further '
            "classes: their class_name is ''.",
            stacklevel=2,
        )
    return np.array(
        [names[i] if i < len(names) else '' for i in labels.tolist()],
        dtype=object,
    )


def to_supervision(
    found: InstanceData,
    names: Sequence[str],
    image_hw: tuple[int, int],
    source: np.ndarray | None,
) -> 'Detections | KeyPoints':
    """Turn detections into supervision's.

    Args:
        found: What :func:`detections_of_image` has returned.
        names: The names of the classes.
        image_hw: (height, width) of the image in pixels.
        source: The image, uint8, shape (h, w, 3), if it is wanted.

    Returns:
        With ``data['class_name']`` and ``data['source_shape']``, int64,
        shape (n, 2), each row (height, width). KeyPoints of a model with
        keypoints, see :func:`rfdetr_runtime.keypoints.to_key_points`.

    Raises:
        ImportError: If supervision is not installed.
    """
    import_supervision()
    return to_arrays(found, names, image_hw, source).to_supervision()


def to_arrays(
    found: InstanceData,
    names: Sequence[str],
    image_hw: tuple[int, int],
    source: np.ndarray | None,
) -> RuntimeDetections:
    """Turn detections into arrays under supervision's names.

    Args:
        found: What :func:`detections_of_image` has returned.
        names: The names of the classes.
        image_hw: (height, width) of the image in pixels.
        source: The image, uint8, shape (h, w, 3), if it is wanted.

    Returns:
        The same as arrays.
    """
    arrays = {k: v.cpu().numpy() for k, v in found.items()}
    labels = arrays['labels']
    shape = np.array(image_hw, dtype=np.int64)
    given = dict(
        xyxy=arrays['bboxes'],
        confidence=arrays['scores'],
        class_id=labels,
        mask=arrays.get('masks'),
        data=dict(
            class_name=class_names_of(labels, names),
            source_shape=np.tile(shape, (len(labels), 1)),
        ),
        metadata={} if source is None else dict(source_image=source),
    )
    if 'keypoints' in found:
        points = arrays['keypoints'], arrays['keypoint_scores'][..., None]
        given['data'][KEYPOINTS] = np.concatenate(points, axis=-1)
        given['data'][PRECISION] = arrays['keypoint_precision']
    return RuntimeDetections(**given)
