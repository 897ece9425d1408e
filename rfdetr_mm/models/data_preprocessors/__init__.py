"""Mmdet's ``DetDataPreprocessor`` in fewer copies; batch augmentations."""

from .batch_kornia_augment import BatchKorniaAugment
from .batch_multi_scale_resize import (
    BatchMultiScaleResize,
    multi_scale_sizes,
)
from .batch_subnet_resize import BatchSubnetResize
from .stacking_det_data_preprocessor import StackingDetDataPreprocessor

__all__ = [
    'BatchKorniaAugment',
    'BatchMultiScaleResize',
    'BatchSubnetResize',
    'StackingDetDataPreprocessor',
    'multi_scale_sizes',
]
