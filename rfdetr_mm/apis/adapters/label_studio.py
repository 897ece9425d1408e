"""Detections as predictions of Label Studio, to be corrected by hand."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.version import __version__

if TYPE_CHECKING:
    from supervision import Detections

IMAGE, BOXES, OUTLINES = 'image', 'boxes', 'outlines'
"""Names of the tags in :func:`labeling_config`."""

_MIN_POINTS = 3
_VERSION = f'rfdetr_mm {__version__}'
_PERCENT = 100.0


def labeling_config(class_names: Sequence[str], masks: bool = False) -> str:
    """Write the labeling interface that the tasks fit.

    Args:
        class_names: The classes.
        masks: Whether there are outlines besides boxes.

    Returns:
        XML for Settings, Labeling Interface, Code.
    """
    labels = ''.join(
        f'<Label value={quoteattr(name)}/>' for name in class_names
    )
    tags = [('RectangleLabels', BOXES)]
    if masks:
        tags.append(('PolygonLabels', OUTLINES))
    controls = ''.join(
        f'<{tag} name="{name}" toName="{IMAGE}">{labels}</{tag}>'
        for tag, name in tags
    )
    image = f'<Image name="{IMAGE}" value="${IMAGE}"/>'
    return f'<View>{image}{controls}</View>'


def label_studio_task(
    found: 'Detections',
    image_url: str,
    image_hw: tuple[int, int] | None = None,
    model_version: str = _VERSION,
) -> dict[str, Any]:
    """Make a task that Label Studio imports, with what a model has found.

    Args:
        found: Result of ``predict`` for one image.
        image_url: Where Label Studio finds the image, such as
            ``/data/local-files/?d=street.jpg``.
        image_hw: (height, width) in pixels; needed only if ``found`` has no
            ``source_shape``, which a result without objects has not, unless
            it keeps its image.
        model_version: Shown with the predictions.

    Returns:
        One entry of the JSON file to import. A box is a region of
        ``RectangleLabels``; an object with a mask has a region of
        ``PolygonLabels`` for each of its parts, without holes, instead.
        Sizes are in percent of the image.

    Raises:
        InputError: If the size of the image is not known.

    Source: label-studio-sdk 2.1.2, label_interface (which regions are
        valid).
    """
    results: list[dict[str, Any]] = []
    hw = image_hw or _image_hw(found)
    if hw is None and len(found):
        raise InputError(
            'The result does not say the size of its image. Pass '
            'image_hw=(height, width).'
        )
    for i in range(len(found)):
        name = str(found.data['class_name'][i])
        score = float(found.confidence[i])
        if found.mask is None:
            values = [_box(found.xyxy[i], hw)]
            kind, tag = 'rectanglelabels', BOXES
        else:
            values = _outlines(found.mask[i], hw)
            kind, tag = 'polygonlabels', OUTLINES
        for part, value in enumerate(values):
            results.append(
                dict(
                    id=f'{i}-{part}',
                    type=kind,
                    from_name=tag,
                    to_name=IMAGE,
                    original_height=hw[0],
                    original_width=hw[1],
                    image_rotation=0,
                    score=score,
                    value={**value, kind: [name]},
                )
            )
    prediction: dict[str, Any] = dict(
        model_version=model_version, result=results
    )
    if len(found):  # Label Studio sorts tasks by it
        prediction['score'] = float(np.mean(found.confidence))
    return dict(data={IMAGE: image_url}, predictions=[prediction])


def _image_hw(found: 'Detections') -> tuple[int, int] | None:
    shapes = found.data.get('source_shape')
    if shapes is not None and len(shapes):
        height, width = shapes[0]
        return int(height), int(width)
    image = found.metadata.get('source_image')
    return None if image is None else image.shape[:2]


def _box(xyxy: np.ndarray, hw: tuple[int, int]) -> dict[str, float]:
    x1, y1, x2, y2 = (float(v) for v in xyxy)
    across, down = _PERCENT / hw[1], _PERCENT / hw[0]
    return dict(
        x=x1 * across,
        y=y1 * down,
        width=(x2 - x1) * across,
        height=(y2 - y1) * down,
        rotation=0,
    )


def _outlines(mask: np.ndarray, hw: tuple[int, int]) -> list[dict[str, Any]]:
    """Outlines around the parts of a mask of shape (height, width)."""
    contours, _ = cv2.findContours(
        np.asarray(mask, np.uint8),
        cv2.RETR_EXTERNAL,
        cv2.CHAIN_APPROX_SIMPLE,
    )
    scale = _PERCENT / np.array([hw[1], hw[0]])
    return [
        dict(points=(contour[:, 0] * scale).tolist(), closed=True)
        for contour in contours
        if len(contour) >= _MIN_POINTS
    ]
