"""Resizing without torch gives the pixels of torch and Pillow."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rfdetr_mm.datasets.transforms.resize import RFDETRResize
from rfdetr_runtime.resizing import (
    KERNELS,
    interpolate,
    resize_masks,
    resize_picture,
)


@pytest.mark.parametrize('is_mask', [False, True])
@pytest.mark.parametrize('seed', range(25))
def test_interpolation_is_torchs(seed, is_mask):
    rng = np.random.default_rng(seed)
    h, w, out_h, out_w = rng.integers(1, 40, 4).tolist()
    values = rng.standard_normal((h, w, 3))
    values = values.astype(np.float32)
    values = values[..., 0] if is_mask else values
    planes = torch.from_numpy(np.atleast_3d(values)).permute(2, 0, 1)
    expected = F.interpolate(
        planes[None], size=(out_h, out_w), mode='bilinear', align_corners=False
    )[0].permute(1, 2, 0)
    found = np.atleast_3d(interpolate(values, (out_h, out_w)))
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6)


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('size', [(20, 31), (96, 64)])
def test_pictures_are_those_of_the_test_pipeline(kernel, size):
    picture = np.random.default_rng(0).integers(0, 256, (48, 70, 3), np.uint8)
    resize = RFDETRResize(size[::-1], kernel)
    expected = resize(dict(img=picture, img_shape=(48, 70)))['img']
    found = resize_picture(picture, size, kernel)
    atol = 0 if kernel == 'validation' else 1e-4
    np.testing.assert_allclose(found, expected, atol=atol)
    other = resize_picture(picture, size, KERNELS[kernel == KERNELS[0]])
    assert np.abs(other - expected).max() > 1 or size == (96, 64)
    floats = picture.astype(np.float32)
    np.testing.assert_array_equal(resize_picture(floats, size, kernel), found)


def test_masks_are_cut_at_zero():
    logits = np.random.default_rng(0).standard_normal((5, 7, 9))
    logits = logits.astype(np.float32)
    expected = F.interpolate(
        torch.from_numpy(logits)[None],
        size=(50, 40),
        mode='bilinear',
        align_corners=False,
    )[0]
    found = resize_masks(logits, (50, 40))
    assert (found != (expected > 0).numpy()).mean() <= 1e-4
    assert 0.3 < found.mean() < 0.7
    assert resize_masks(logits[:0], (50, 40)).shape == (0, 50, 40)
