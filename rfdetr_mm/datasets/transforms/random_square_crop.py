"""The crop of upstream's training pipeline."""

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomCrop
from mmdet.registry import TRANSFORMS

from rfdetr_mm.errors import InputError


@TRANSFORMS.register_module()
class RandomSquareCrop(RandomCrop):
    """Crop a random square.

    mmdet's ``RandomCrop`` draws height and width apart, so what is resized to
    a square afterwards is stretched by up to ``max_side / min_side``; of a
    square it is not. Boxes and masks are mmdet's business: those that reach
    into the crop are cut at its border, the others go, and an image may be
    left without objects.

    Args:
        min_side: Least side of the crop in pixels. Of an image with a
            shorter side the crop takes that side.
        max_side: Greatest side in pixels, itself included.

    Raises:
        InputError: If not 1 <= min_side <= max_side.

    Source: rfdetr 1.11.2, datasets._torchvision.RandomSizedCrop
        (Apache-2.0).
    """

    def __init__(self, min_side: int, max_side: int) -> None:
        if not 1 <= min_side <= max_side:
            raise InputError(
                'RandomSquareCrop needs 1 <= min_side <= max_side, in '
                f'pixels, but got min_side={min_side}, max_side={max_side}'
            )
        super().__init__(
            crop_size=(min_side, max_side),
            crop_type='absolute_range',
            allow_negative_crop=True,
        )

    @cache_randomness
    def _get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Draw the side for an image of (h, w) pixels."""
        min_side, max_side = (
            min(side, *image_size) for side in self.crop_size
        )
        side = int(np.random.randint(min_side, max_side + 1))
        return side, side

    def __repr__(self) -> str:
        """Show the arguments that this class knows."""
        min_side, max_side = self.crop_size
        return (
            f'{type(self).__name__}(min_side={min_side}, max_side={max_side})'
        )
