"""Python interfaces for using trained models.

There is a class for every size of :mod:`rfdetr_mm_light.sizes`, such as
``RFDETRNano``.
"""

from typing import TYPE_CHECKING

from rfdetr_mm_light.class_rows import COCO_CATEGORY_IDS
from rfdetr_mm_light.class_rows import COCO_CLASSES as _NAMES

from .inferencer import RFDETRInferencer
from .model_context import ModelContext
from .rfdetr import CLASSES, RFDETR
from .sliced_inferencer import SlicedInferencer
from .weights import PretrainWeightsCompatibilityWarning

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[RFDETR]: ...


globals().update(CLASSES)
from_checkpoint = RFDETR.from_checkpoint

COCO_CLASSES: dict[int, str] = dict(zip(COCO_CATEGORY_IDS, _NAMES))
"""COCO's category ids, 1 to 90, to names. Labels of models here are places
in the list of names, from 0 on."""
COCO_CLASS_NAMES: list[str] = list(_NAMES)
"""COCO's 80 names, in the order of the labels."""

__all__ = [
    'COCO_CLASSES',
    'COCO_CLASS_NAMES',
    'ModelContext',
    'PretrainWeightsCompatibilityWarning',
    'RFDETR',
    'RFDETRInferencer',
    'SlicedInferencer',
    'from_checkpoint',
    *CLASSES,
]
