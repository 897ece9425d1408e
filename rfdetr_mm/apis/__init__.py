"""Python interfaces for using trained models.

There is a class for every size of :mod:`rfdetr_mm_light.sizes`, such as
``RFDETRNano``.
"""

from typing import TYPE_CHECKING

from .inferencer import RFDETRInferencer
from .rfdetr import CLASSES, RFDETR
from .sliced_inferencer import SlicedInferencer

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[RFDETR]: ...


globals().update(CLASSES)
from_checkpoint = RFDETR.from_checkpoint

__all__ = [
    'RFDETR',
    'RFDETRInferencer',
    'SlicedInferencer',
    'from_checkpoint',
    *CLASSES,
]
