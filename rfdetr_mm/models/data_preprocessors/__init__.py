"""Batch augmentations for mmdet's ``DetDataPreprocessor``."""

from .batch_multi_scale_resize import (
    BatchMultiScaleResize,
    multi_scale_sizes,
)
from .batch_subnet_resize import BatchSubnetResize

__all__ = ['BatchMultiScaleResize', 'BatchSubnetResize', 'multi_scale_sizes']
