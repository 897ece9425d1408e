import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS

from rfdetr_mm.datasets.transforms import (
    ColorJitter,
    GaussianBlur,
    GaussianNoise,
)


def apply(transform, img: np.ndarray) -> np.ndarray:
    before = img.copy()
    out = transform(dict(img=img))['img']
    np.testing.assert_array_equal(img, before)  # the input stays
    assert out.shape == img.shape and out.dtype == np.uint8
    return out


def flat(bgr: tuple[int, int, int], h: int = 5, w: int = 9) -> np.ndarray:
    return np.full((h, w, 3), bgr, dtype=np.uint8)


@pytest.mark.parametrize(
    'options, bgr, low, high',
    [
        (dict(brightness=0.2), (100, 50, 200), (80, 40, 160), (120, 60, 240)),
        # Pure red in BGR: its luma is 76, a grey pixel is its own mean.
        (dict(saturation=1.0), (0, 0, 255), (0, 0, 76), (76, 76, 255)),
        (dict(contrast=0.5), (90, 90, 90), (90, 90, 90), (90, 90, 90)),
        (dict(hue=0.1), (0, 0, 255), (0, 0, 255), (146, 151, 255)),
        (dict(), (9, 99, 199), (9, 99, 199), (9, 99, 199)),
    ],
)
def test_jitter_covers_its_range(options, bgr, low, high):
    torch.manual_seed(0)
    transform = ColorJitter(**options)
    pixels = np.array([apply(transform, flat(bgr))[0, 0] for _ in range(400)])
    np.testing.assert_allclose(pixels.min(0), low, atol=3)
    np.testing.assert_allclose(pixels.max(0), high, atol=3)
    if low != high:  # not three values, as mmdet's would be
        assert len(np.unique(pixels, axis=0)) > 20


def test_jitter_of_hue_knows_blue_from_red():
    torch.manual_seed(0)
    transform = ColorJitter(hue=0.1)
    for _ in range(50):
        blue, green, red = apply(transform, flat((0, 0, 255)))[0, 0].tolist()
        assert red == 255 and min(blue, green) == 0


def test_blur_spreads_a_point_and_keeps_its_sum():
    np.random.seed(0)
    img = np.zeros((9, 13, 3), dtype=np.uint8)
    img[4, 6] = 252
    centres = set()
    for _ in range(60):
        out = apply(GaussianBlur(3, (0.5, 3.0)), img).astype(int)
        assert np.abs(out.sum(axis=(0, 1)) - 252).max() <= 5
        assert not out[:3].any() and not out[6:].any()
        assert not out[:, :5].any() and not out[:, 8:].any()
        centres.add(out[4, 6, 0])
    # The middle weight of the kernel: sigma 0.5 and 3.0, squared for h and w.
    assert min(centres) == pytest.approx(252 * 0.346**2, abs=3)
    assert 252 * 0.5**2 < max(centres) <= 252 * 0.787**2 + 1


def test_noise_has_the_strength_that_is_asked_for():
    np.random.seed(0)
    img = flat((128, 128, 128), 60, 90)
    stds = []
    for _ in range(60):
        noise = apply(GaussianNoise((0.01, 0.05)), img) - 128.0
        assert abs(noise.mean()) < 0.5
        assert (
            abs(np.corrcoef(noise[..., 0].flat, noise[..., 2].flat)[0, 1])
            < 0.1
        )
        stds.append(noise.std())
    assert 2.4 < min(stds) < 4 and 11 < max(stds) < 13
    for grey in (0, 255):  # no wrap-around
        noisy = apply(GaussianNoise((0.05, 0.05)), flat((grey,) * 3))
        assert np.abs(noisy.astype(int) - grey).max() < 80


@pytest.mark.parametrize(
    'build, words',
    [
        (lambda: GaussianBlur(kernel_size=4), 'odd and positive, got 4'),
        (lambda: GaussianBlur(sigma_range=(2, 1)), r'sigma_range .*\(2, 1\)'),
        (lambda: GaussianNoise((0, 0.1)), r'std_range .*\(0, 0.1\)'),
        (lambda: GaussianNoise((0.1,)), r'std_range needs two values'),
        (lambda: ColorJitter(hue=0.6), 'hue'),
    ],
)
def test_bad_arguments_are_explained(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_are_built_by_name():
    for name in ('ColorJitter', 'GaussianBlur', 'GaussianNoise'):
        assert repr(TRANSFORMS.build(dict(type=name))).startswith(name)
