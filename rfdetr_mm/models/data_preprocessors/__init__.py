"""Batch augmentations for mmdet's ``DetDataPreprocessor``."""

from .batch_multi_scale_resize import (
    BatchMultiScaleResize,
    multi_scale_sizes,
)

__all__ = ['BatchMultiScaleResize', 'multi_scale_sizes']
