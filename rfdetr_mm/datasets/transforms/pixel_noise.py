"""Augmentations of colour and sharpness; boxes and masks stay."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from PIL import Image
from torchvision import transforms as tv

from rfdetr_mm.errors import InputError


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """torchvision's ``ColorJitter`` on the 8-bit BGR image of a pipeline.

    mmdet's ``Brightness``, ``Contrast`` and ``Color`` round their factors to
    one decimal, so that a range like 0.9 to 1.1 has three values.

    Args:
        brightness: Factors from 1 - brightness to 1 + brightness; contrast
            and saturation alike.
        contrast: See above.
        saturation: See above.
        hue: Shift from -hue to hue, in turns of the colour circle, at most
            0.5.

    Raises:
        ValueError: If torchvision does not take a range.
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
    ) -> None:
        self.jitter = tv.ColorJitter(brightness, contrast, saturation, hue)

    def transform(self, results: dict) -> dict:
        """Change ``results['img']``, uint8 of shape (h, w, 3) in BGR."""
        img = Image.fromarray(results['img'][..., ::-1])
        results['img'] = np.array(self.jitter(img))[..., ::-1].copy()
        return results

    def __repr__(self) -> str:
        """Show the ranges."""
        return repr(self.jitter)


@TRANSFORMS.register_module()
class GaussianBlur(BaseTransform):
    """Blur by a Gaussian of random width.

    Args:
        kernel_size: Side of the kernel in pixels, odd.
        sigma_range: Least and greatest standard deviation in pixels.

    Raises:
        InputError: If the kernel or the range is not as above.

    Source: rfdetr 1.11.2, AUG_INDUSTRIAL, through Albumentations.
    """

    def __init__(
        self,
        kernel_size: int = 3,
        sigma_range: tuple[float, float] = (0.5, 3.0),
    ) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise InputError(
                f'kernel_size must be odd and positive, got {kernel_size}'
            )
        _check_range('sigma_range', sigma_range)
        self.kernel_size = kernel_size
        self.sigma_range = tuple(sigma_range)

    @cache_randomness
    def _draw_sigma(self) -> float:
        return np.random.uniform(*self.sigma_range)

    def transform(self, results: dict) -> dict:
        """Blur ``results['img']``, shape (h, w, channels)."""
        side = (self.kernel_size, self.kernel_size)
        results['img'] = cv2.GaussianBlur(
            results['img'], side, self._draw_sigma()
        )
        return results

    def __repr__(self) -> str:
        """Show the arguments."""
        return (
            f'{type(self).__name__}(kernel_size={self.kernel_size}, '
            f'sigma_range={self.sigma_range})'
        )


@TRANSFORMS.register_module()
class GaussianNoise(BaseTransform):
    """Add Gaussian noise of random strength to every pixel and channel.

    Args:
        std_range: Least and greatest standard deviation, as parts of 255
            grey levels.

    Raises:
        InputError: If the range is not as above.

    Source: rfdetr 1.11.2, AUG_INDUSTRIAL, through Albumentations.
    """

    def __init__(self, std_range: tuple[float, float] = (0.01, 0.05)) -> None:
        _check_range('std_range', std_range)
        self.std_range = tuple(std_range)

    @cache_randomness
    def _draw_noise(self, shape: tuple[int, ...]) -> np.ndarray:
        std = 255 * np.random.uniform(*self.std_range)
        return np.random.normal(0.0, std, shape)

    def transform(self, results: dict) -> dict:
        """Change ``results['img']``, uint8 of shape (h, w, channels)."""
        img = results['img'] + self._draw_noise(results['img'].shape)
        results['img'] = img.round().clip(0, 255).astype(np.uint8)
        return results

    def __repr__(self) -> str:
        """Show the argument."""
        return f'{type(self).__name__}(std_range={self.std_range})'


def _check_range(name: str, bounds: tuple[float, float]) -> None:
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1]:
        raise InputError(
            f'{name} needs two values, 0 < least <= greatest, got '
            f'{tuple(bounds)}'
        )
