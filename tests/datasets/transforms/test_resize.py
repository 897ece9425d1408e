import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from PIL import Image
from torchvision.transforms import functional as tv

from rfdetr_mm.datasets import RFDETRResize
from rfdetr_mm.datasets.transforms.resize import KERNELS

SIZES = [  # (h, w) of the image, (h, w) of the result
    ((90, 160), (48, 64)),
    ((160, 90), (64, 48)),
    ((20, 33), (64, 96)),
    ((300, 40), (32, 128)),
    ((64, 48), (64, 48)),
]


def random_image(h: int, w: int, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(h * w)
    shape = (h, w, channels) if channels else (h, w)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def resize(img: np.ndarray, size_hw: tuple[int, int], **options) -> dict:
    transform = RFDETRResize(scale=size_hw[::-1], **options)
    return transform.transform(dict(img=img, img_shape=img.shape[:2]))


def predict_reference(img: np.ndarray, size_hw: tuple[int, int]):
    planes = torch.from_numpy(img).permute(2, 0, 1).float() / 255
    resized = tv.resize(planes, list(size_hw), antialias=False)
    return resized.permute(1, 2, 0).numpy() * 255


@pytest.mark.parametrize('old_hw, new_hw', SIZES)
def test_validation_kernel_is_pillow_to_the_pixel(old_hw, new_hw):
    img = random_image(*old_hw)
    results = resize(img, new_hw)
    expected = tv.resize(Image.fromarray(img), list(new_hw), antialias=True)
    assert results['img'].dtype == np.uint8
    np.testing.assert_array_equal(results['img'], np.asarray(expected))
    assert results['img_shape'] == new_hw
    h_scale, w_scale = np.divide(new_hw, old_hw)
    assert results['scale_factor'] == (w_scale, h_scale)


@pytest.mark.parametrize('old_hw, new_hw', SIZES)
def test_predict_kernel_interpolates_floats(old_hw, new_hw):
    img = random_image(*old_hw)
    results = resize(img, new_hw, kernel='predict')
    assert results['img'].dtype == np.float32
    expected = predict_reference(img, new_hw)
    np.testing.assert_allclose(results['img'], expected, atol=1e-3 * 255)
    assert np.abs(results['img'] - expected).max() < 1e-3  # grey levels
    assert results['img_shape'] == new_hw


def test_kernels_differ_where_an_image_shrinks():
    img = random_image(90, 160)
    pixels = [
        resize(img, (48, 64), kernel=kernel)['img'].astype(float)
        for kernel in ('validation', 'predict')
    ]
    assert np.abs(pixels[0] - pixels[1]).max() > 30


@pytest.mark.parametrize('old_hw, new_hw', SIZES)
def test_training_kernel_is_pillow_but_for_single_grey_levels(old_hw, new_hw):
    img = random_image(*old_hw)  # noise, where rounding shows most
    results = resize(img, new_hw, kernel='training')
    pillow = resize(img, new_hw)
    difference = results['img'].astype(int) - pillow['img']
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.25
    for key in ('img_shape', 'scale_factor'):
        assert results[key] == pillow[key]


@pytest.mark.parametrize('kernel', KERNELS)
def test_views_of_memory_are_resized_as_copies_are(kernel):
    img = random_image(60, 90)
    for view in (img[..., ::-1], img[7:50, 3:71], img[:, ::-1, ::-1]):
        expected = resize(view.copy(), (32, 48), kernel=kernel)['img']
        resized = resize(view, (32, 48), kernel=kernel)['img']
        np.testing.assert_array_equal(resized, expected)


def test_predict_kernel_by_hand():
    img = np.array([[0, 100]], dtype=np.uint8)  # h 1, w 2
    results = resize(img, (1, 4), kernel='predict')
    # Output centres lie at -0.25, 0.25, 0.75 and 1.25 of the input.
    np.testing.assert_allclose(results['img'], [[0, 25, 75, 100]], atol=1e-4)


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('channels', [0, 1, 4, 5])
def test_any_number_of_channels(kernel, channels):
    img = random_image(30, 50, channels)
    resized = resize(img, (16, 24), kernel=kernel)['img']
    assert resized.shape == (16, 24, *img.shape[2:])
    plane = img[..., -1] if channels else img
    alone = resize(plane, (16, 24), kernel=kernel)['img']
    np.testing.assert_array_equal(
        resized[..., -1] if channels else resized, alone
    )


@pytest.mark.parametrize('kernel', KERNELS)
def test_boxes_and_masks_follow(kernel):
    results = dict(
        img=random_image(50, 100),
        img_shape=(50, 100),
        gt_bboxes=HorizontalBoxes(
            [[10.0, 5.0, 60.0, 45.0], [90, 40, 120, 70]]
        ),
    )
    transform = RFDETRResize(scale=(40, 80), kernel=kernel)
    boxes = transform(results)['gt_bboxes'].tensor
    expected = [[4.0, 8.0, 24.0, 72.0], [36.0, 64.0, 40.0, 80.0]]
    torch.testing.assert_close(boxes, torch.tensor(expected))


def test_no_boxes():
    results = dict(
        img=random_image(50, 100),
        img_shape=(50, 100),
        gt_bboxes=HorizontalBoxes(torch.zeros(0, 4)),
    )
    resized = RFDETRResize(scale=32)(results)
    assert resized['gt_bboxes'].tensor.shape == (0, 4)
    assert resized['img'].shape == (32, 32, 3)


@pytest.mark.parametrize('kernel', KERNELS)
def test_keep_ratio(kernel):
    results = resize(
        random_image(60, 100), (40, 1000), kernel=kernel, keep_ratio=True
    )
    assert results['img'].shape == (40, 67, 3)
    assert results['scale_factor'] == (0.67, 40 / 60)


def test_bad_arguments_are_explained():
    with pytest.raises(
        ValueError, match="validation, training, predict.*'bilinear'"
    ):
        RFDETRResize(scale=(32, 32), kernel='bilinear')
    with pytest.raises(ValueError, match='scale=None'):
        RFDETRResize(scale=None)
    for kernel in ('validation', 'training'):
        floats = random_image(8, 9).astype(np.float32)
        with pytest.raises(TypeError, match='float32.*to_float32'):
            resize(floats, (4, 4), kernel=kernel)


def test_is_built_by_name():
    transform = TRANSFORMS.build(dict(type='RFDETRResize', scale=(64, 32)))
    assert isinstance(transform, RFDETRResize)
    assert "kernel='validation'" in repr(transform)
