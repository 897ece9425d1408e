"""Resizing with the pixels that RF-DETR was trained on."""

import numpy as np
import torch
from mmcv import rescale_size
from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tv

from rfdetr_mm.errors import InputError

KERNELS = ('validation', 'training', 'predict')


@TRANSFORMS.register_module()
class RFDETRResize(Resize):
    """mmdet's ``Resize`` with the two kernels of upstream.

    Upstream resizes the same image in two ways, and the average precision of
    a checkpoint depends on which one is taken:

    * ``'validation'``: Pillow's bilinear filter on 8-bit pixels. It averages
      over the whole footprint of an output pixel (antialiasing) and rounds
      to whole grey levels. Upstream trains and validates with it.
    * ``'training'``: the same filter on 8-bit pixels in torch's vectorised
      implementation, in a fifth of the time. Pixels differ from the former
      by one grey level at most, on photographs less than one in 100.
    * ``'predict'``: bilinear interpolation of floating-point pixels between
      the four nearest neighbours, pixel centres at half-integers, neither
      antialiased nor rounded. Upstream's ``predict()`` uses it.

    Boxes, masks and segmentation maps are mmdet's business either way. To
    evaluate with the other kernel, switch one option:
    ``--cfg-options test_dataloader.dataset.pipeline.1.kernel=predict``.

    Args:
        scale: Output size (width, height) in pixels; an int means a square.
            With ``keep_ratio`` the bounds (long side, short side), in any
            order, within which the image is made as large as possible.
        kernel: ``'validation'``, ``'training'`` or ``'predict'``.
        keep_ratio: Whether to keep the aspect ratio. RF-DETR itself sees
            squares, hence False.
        clip_object_border: Whether to clip boxes to the image.

    Raises:
        InputError: If the kernel is unknown or no scale is given.

    Source: rfdetr 1.11.2, datasets/coco.py (validation transforms) and
        detr.py, RFDETR.predict (Apache-2.0).
    """

    def __init__(
        self,
        scale: int | tuple[int, int],
        kernel: str = 'validation',
        keep_ratio: bool = False,
        clip_object_border: bool = True,
    ) -> None:
        if kernel not in KERNELS:
            raise InputError(
                f'RFDETRResize has the kernels {", ".join(KERNELS)}, but got '
                f'kernel={kernel!r}. Take "validation" for the numbers of '
                'upstream\'s evaluation, "predict" for those of its predict().'
            )
        if scale is None:
            raise InputError(
                'RFDETRResize needs the output size, but got scale=None. Set '
                'scale=(width, height) in pixels, both multiples of '
                'patch_size * num_windows.'
            )
        super().__init__(
            scale=scale,
            keep_ratio=keep_ratio,
            clip_object_border=clip_object_border,
            backend='pillow',
        )
        self.kernel = kernel

    def _resize_img(self, results: dict) -> None:
        """Resize ``results['img']``, shape (h, w) or (h, w, channels)."""
        img = results.get('img')
        if img is None:
            return
        old_h, old_w = img.shape[:2]
        new_w, new_h = results['scale']
        if self.keep_ratio:
            new_w, new_h = rescale_size((old_w, old_h), results['scale'])
        resize = dict(
            validation=_resize_antialiased,
            training=_resize_vectorised,
            predict=_resize_interpolated,
        )[self.kernel]
        results['img'] = resize(img, new_h, new_w)
        results['img_shape'] = (new_h, new_w)
        results['scale_factor'] = (new_w / old_w, new_h / old_h)
        results['keep_ratio'] = self.keep_ratio

    def __repr__(self) -> str:
        """Show the arguments that this class knows."""
        return (
            f'{type(self).__name__}(scale={self.scale}, '
            f'kernel={self.kernel!r}, keep_ratio={self.keep_ratio}, '
            f'clip_object_border={self.clip_object_border})'
        )


def _resize_antialiased(img: np.ndarray, new_h: int, new_w: int) -> np.ndarray:
    """Resize 8-bit pixels by Pillow's bilinear filter.

    Args:
        img: uint8, shape (h, w) or (h, w, channels), any number of channels.
        new_h: Output height in pixels.
        new_w: Output width in pixels.

    Returns:
        uint8, shape (new_h, new_w) or (new_h, new_w, channels).

    Raises:
        TypeError: If the pixels are not 8-bit.
    """
    _check_uint8(img)
    if img.ndim == 3 and img.shape[2] != 3:
        planes = np.moveaxis(img, 2, 0)  # (channels, h, w)
        resized = [
            _resize_antialiased(plane, new_h, new_w) for plane in planes
        ]
        return np.stack(resized, axis=2)  # (new_h, new_w, channels)
    if img.ndim == 3 and img.strides[2] < 0:  # RGB memory, seen as BGR
        return _resize_antialiased(img[..., ::-1], new_h, new_w)[..., ::-1]
    # Of crops, which are not contiguous, Pillow's own copy is a slow one.
    resized = Image.fromarray(np.ascontiguousarray(img)).resize(
        (new_w, new_h), Image.Resampling.BILINEAR
    )
    return np.array(resized)


def _resize_vectorised(img: np.ndarray, new_h: int, new_w: int) -> np.ndarray:
    """Resize 8-bit pixels by Pillow's bilinear filter, as torch has it.

    Args:
        img: uint8, shape (h, w) or (h, w, channels).
        new_h: Output height in pixels.
        new_w: Output width in pixels.

    Returns:
        uint8, shape (new_h, new_w) or (new_h, new_w, channels).

    Raises:
        TypeError: If the pixels are not 8-bit.
    """
    _check_uint8(img)
    if img.ndim == 3 and img.strides[2] < 0:  # RGB memory, seen as BGR
        return _resize_vectorised(img[..., ::-1], new_h, new_w)[..., ::-1]
    planes = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(img)))
    resized = tv.resize(
        planes.permute(2, 0, 1), [new_h, new_w], antialias=True
    )
    resized = resized.permute(1, 2, 0).contiguous().numpy()
    return resized[..., 0] if img.ndim == 2 else resized


def _check_uint8(img: np.ndarray) -> None:
    if img.dtype != np.uint8:
        raise TypeError(
            "RFDETRResize(kernel='validation') and kernel='training' work on "
            f'8-bit pixels, but got {img.dtype}. Load images without '
            "to_float32, or take kernel='predict'."
        )


def _resize_interpolated(
    img: np.ndarray, new_h: int, new_w: int
) -> np.ndarray:
    """Interpolate bilinearly between pixel centres, in floating point.

    Args:
        img: Any dtype, shape (h, w) or (h, w, channels).
        new_h: Output height in pixels.
        new_w: Output width in pixels.

    Returns:
        float32 in the range of the input, not rounded, shape (new_h, new_w)
        or (new_h, new_w, channels).
    """
    planes = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(img)))
    planes = planes.permute(2, 0, 1).float()  # (channels, h, w)
    resized = F.interpolate(
        planes[None],
        size=(new_h, new_w),
        mode='bilinear',
        align_corners=False,
        antialias=False,
    )[0]
    resized = resized.permute(1, 2, 0).contiguous().numpy()
    return resized[..., 0] if img.ndim == 2 else resized
