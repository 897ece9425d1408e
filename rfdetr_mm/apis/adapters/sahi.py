"""A detection model for SAHI: slices of large images, many merging rules.

SAHI's own wrapper of RF-DETR, ``sahi.models.roboflow``, wants instances of
rfdetr's classes and rfdetr itself.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.scores import SCORE_THRESHOLD

if TYPE_CHECKING:
    from sahi.models.base import DetectionModel
    from supervision import Detections


def sahi_model(
    model: Any, confidence_threshold: float = SCORE_THRESHOLD, **kwargs: Any
) -> 'DetectionModel':
    """Make a model that SAHI's functions take as ``detection_model``.

    Args:
        model: One of the upstream-style classes, such as ``RFDETRNano()``,
            for boxes or masks.
        confidence_threshold: Only detections with a higher score are given.
        **kwargs: Further arguments of SAHI's ``DetectionModel``, such as
            ``category_remapping``.

    Returns:
        An instance of ``sahi.models.base.DetectionModel``. SAHI keeps the
        outline of a mask and takes the box from it. A mask of single pixels
        or a straight line of them has no outline there, and its detection is
        left out.

    Raises:
        ImportError: If SAHI is not installed.
        InputError: If the model has keypoints, which SAHI does not know.

    Source: sahi 0.12.8, sahi/models/base.py DetectionModel (interface).
    """
    from sahi.models.base import DetectionModel

    if model.model_config.use_grouppose_keypoints:
        raise InputError(
            f'{type(model).__name__} finds keypoints, and SAHI knows boxes '
            'and masks only. Take a class of detection or segmentation.'
        )

    class RFDETRDetectionModel(DetectionModel):
        """What :func:`sahi_model` makes."""

        def set_model(self, model: Any, **_: Any) -> None:
            self.model = model
            self.category_mapping = {
                str(i): name for i, name in enumerate(model.class_names)
            }

        def perform_inference(self, image: np.ndarray) -> None:
            self._original_predictions = [self._predict(image)]

        def perform_batch_inference(self, images: list[np.ndarray]) -> None:
            self._original_predictions = self._predict(images)

        def _predict(
            self, images: np.ndarray | list[np.ndarray]
        ) -> 'Detections | list[Detections]':
            return self.model.predict(
                images,
                threshold=self.confidence_threshold,
                include_source_image=False,
            )

        def _create_object_prediction_list_from_original_predictions(
            self,
            shift_amount_list: Any = None,
            full_shape_list: Any = None,
        ) -> None:
            results = self._original_predictions
            shifts = _per_image(shift_amount_list, [0, 0], len(results))
            shapes = _per_image(full_shape_list, None, len(results))
            self._object_prediction_list_per_image = [
                _objects(found, self.category_mapping, shift, shape)
                for found, shift, shape in zip(results, shifts, shapes)
            ]

    return RFDETRDetectionModel(
        model=model, confidence_threshold=confidence_threshold, **kwargs
    )


def _per_image(given: Any, default: Any, number: int) -> list[Any]:
    """SAHI gives one value for each image, or one alone for one image."""
    if not given:
        return [default] * number
    return [given] if np.ndim(given[0]) == 0 else list(given)


def _objects(
    found: 'Detections', names: dict[str, str], shift: Any, shape: Any
) -> list[Any]:
    from sahi.prediction import ObjectPrediction
    from sahi.utils.cv import get_coco_segmentation_from_bool_mask

    objects = []
    for i in range(len(found)):
        outline = None
        if found.mask is not None:
            outline = get_coco_segmentation_from_bool_mask(found.mask[i])
            if not outline:
                continue
        label = int(found.class_id[i])
        objects.append(
            ObjectPrediction(
                bbox=found.xyxy[i].tolist(),
                segmentation=outline,
                category_id=label,
                category_name=names[str(label)],
                score=float(found.confidence[i]),
                shift_amount=shift,
                full_shape=shape,
            )
        )
    return objects
