"""A stand-in for mmcv's compiled extension, where there is none.

mmcv has its operators (suppression of boxes, RoIAlign, deformable
convolutions ...) in an extension that takes about 12 minutes to compile.
Without a compiler it installs in seconds and lacks it, and mmdet's models do
not import. The functions here do the same on torch and torchvision; a
compiled extension always comes first.
"""

from .finder import activate

__all__ = ['activate']
