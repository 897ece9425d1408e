"""Image transforms, registered into mmdet's ``TRANSFORMS``."""

from .resize import RFDETRResize

__all__ = ['RFDETRResize']
