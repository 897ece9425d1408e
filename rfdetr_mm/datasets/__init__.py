"""Data: the transforms that mmdet and mmcv do not have."""

from .transforms import RFDETRResize

__all__ = ['RFDETRResize']
