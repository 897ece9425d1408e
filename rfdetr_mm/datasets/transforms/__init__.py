"""Image transforms, registered into mmdet's ``TRANSFORMS``."""

from .centered_affine import CenteredRandomAffine
from .load_image import LoadCheckedImage
from .pixel_noise import ColorJitter, GaussianBlur, GaussianNoise
from .random_square_crop import RandomSquareCrop
from .resize import RFDETRResize

__all__ = [
    'CenteredRandomAffine',
    'ColorJitter',
    'GaussianBlur',
    'GaussianNoise',
    'LoadCheckedImage',
    'RFDETRResize',
    'RandomSquareCrop',
]
