"""Image transforms, registered into mmdet's ``TRANSFORMS``."""

from .centered_affine import CenteredRandomAffine
from .load_image import LoadCheckedImage
from .pixel_noise import ColorJitter, GaussianBlur, GaussianNoise
from .pose import LoadPoseAnnotations, PackPoseInputs, PoseRandomFlip
from .pose_boxes import PoseBoxes
from .random_square_crop import RandomSquareCrop
from .resize import RFDETRResize

__all__ = [
    'CenteredRandomAffine',
    'ColorJitter',
    'GaussianBlur',
    'GaussianNoise',
    'LoadCheckedImage',
    'LoadPoseAnnotations',
    'PackPoseInputs',
    'PoseBoxes',
    'PoseRandomFlip',
    'RFDETRResize',
    'RandomSquareCrop',
]
