"""Python interfaces for using trained models."""

from .inferencer import RFDETRInferencer
from .rfdetr import RFDETR
from .sizes import (
    RFDETR2XLarge,
    RFDETRBase,
    RFDETRLarge,
    RFDETRLargeDeprecated,
    RFDETRMedium,
    RFDETRNano,
    RFDETRSeg2XLarge,
    RFDETRSegLarge,
    RFDETRSegMedium,
    RFDETRSegNano,
    RFDETRSegPreview,
    RFDETRSegSmall,
    RFDETRSegXLarge,
    RFDETRSmall,
    RFDETRTiny,
    RFDETRXLarge,
)
from .sliced_inferencer import SlicedInferencer

from_checkpoint = RFDETR.from_checkpoint

__all__ = [
    'RFDETR',
    'RFDETR2XLarge',
    'RFDETRBase',
    'RFDETRInferencer',
    'RFDETRLarge',
    'RFDETRLargeDeprecated',
    'RFDETRMedium',
    'RFDETRNano',
    'RFDETRSeg2XLarge',
    'RFDETRSegLarge',
    'RFDETRSegMedium',
    'RFDETRSegNano',
    'RFDETRSegPreview',
    'RFDETRSegSmall',
    'RFDETRSegXLarge',
    'RFDETRSmall',
    'RFDETRTiny',
    'RFDETRXLarge',
    'SlicedInferencer',
    'from_checkpoint',
]
