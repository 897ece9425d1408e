"""Affine augmentation around the middle of the image."""

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomAffine
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CenteredRandomAffine(RandomAffine):
    """mmdet's ``RandomAffine`` with the image's middle as the fixed point.

    mmdet rotates, scales and shears around the upper left corner, made for
    its mosaics: of a 544 px image, 15 degrees move the far corners by 140 px.
    Arguments are those of ``RandomAffine``; masks are not supported.
    """

    @cache_randomness
    def _get_random_homography_matrix(
        self, height: int, width: int
    ) -> np.ndarray:
        """Draw a matrix, shape (3, 3), for an image of this size in px."""
        warp = super()._get_random_homography_matrix(height, width)
        to_middle = self._get_translation_matrix(width / 2, height / 2)
        to_corner = self._get_translation_matrix(-width / 2, -height / 2)
        return to_middle @ warp @ to_corner
