"""Batches of mmdet's data preprocessor, to the bit."""

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.model import ImgDataPreprocessor
from mmengine.structures import InstanceData

from rfdetr_mm.models import StackingDetDataPreprocessor

OPTIONS = dict(
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_size_divisor=8,
)
SIZES = {
    'alike': [(16, 24)] * 3,
    'single': [(8, 16)],
    'padded': [(15, 24)] * 3,
    'different': [(16, 24), (24, 8)],
}


def batch(sizes, dtype=torch.uint8, channels=3):
    generator = torch.Generator().manual_seed(0)
    images, samples = [], []
    for height, width in sizes:
        image = torch.randint(
            256, (channels, height, width), generator=generator
        )
        images.append(image.to(dtype))
        sample = DetDataSample(metainfo=dict(img_shape=(height, width)))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[1.0, 2, 3, 4]]),
            masks=BitmapMasks(
                torch.ones(1, height, width).numpy(), height, width
            ),
        )
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


@pytest.fixture
def others(monkeypatch):
    """How often mmengine's own way was taken."""
    taken = []
    forward = ImgDataPreprocessor.forward
    monkeypatch.setattr(
        ImgDataPreprocessor,
        'forward',
        lambda *args, **kwargs: taken.append(1) or forward(*args, **kwargs),
    )
    return taken


def both(data_of, training=True, **options):
    """Results of mmdet's and of ours for data of their own."""
    options = {**OPTIONS, **options}
    return [
        MODELS.build(dict(options, type=kind))(data_of(), training)
        for kind in ('DetDataPreprocessor', 'StackingDetDataPreprocessor')
    ]


def assert_same(expected, found):
    assert torch.equal(expected['inputs'], found['inputs'])
    assert found['inputs'].dtype == torch.float32
    for one, other in zip(expected['data_samples'], found['data_samples']):
        assert one.metainfo == other.metainfo
        assert torch.equal(one.gt_instances.bboxes, other.gt_instances.bboxes)
        masks = [x.gt_instances.masks.masks for x in (one, other)]
        assert (masks[0] == masks[1]).all()


@pytest.mark.parametrize('sizes', SIZES)
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32, torch.float64])
def test_batches_are_mmdets(others, sizes, training, dtype):
    assert_same(*both(lambda: batch(SIZES[sizes], dtype), training))
    stacked = sizes in ('alike', 'single') and dtype == torch.uint8
    assert len(others) == (1 if stacked else 2)  # one is mmdet's


@pytest.mark.parametrize(
    'options',
    [
        dict(bgr_to_rgb=False),
        dict(mean=None, std=None),
        dict(bgr_to_rgb=False, rgb_to_bgr=True),
        dict(mean=[127.5], std=[50.0]),
        dict(pad_mask=True, mask_pad_value=1),
    ],
)
def test_options(others, options):
    assert_same(*both(lambda: batch(SIZES['alike']), **options))
    assert len(others) == 1


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_a_model_of_another_type(others, dtype):
    images = [
        MODELS.build(dict(OPTIONS, type=kind)).to(dtype)(
            batch(SIZES['alike'])
        )['inputs']
        for kind in ('DetDataPreprocessor', 'StackingDetDataPreprocessor')
    ]
    assert len(others) == 1
    assert images[0].dtype == images[1].dtype
    assert torch.equal(*images)


def test_batch_augments():
    pad = dict(type='BatchFixedSizePad', size=(32, 40), img_pad_value=1)
    found = both(lambda: batch(SIZES['alike']), batch_augments=[pad])
    assert found[1]['inputs'].shape == (3, 3, 32, 40)
    assert_same(*found)


@pytest.mark.parametrize('kind', ['stacked', 'grey', 'wrong'])
def test_what_is_no_list_of_colour_images_goes_mmengines_way(others, kind):
    def data():
        one = batch(SIZES['alike'], channels=1 if kind == 'grey' else 3)
        if kind == 'stacked':
            one['inputs'] = torch.stack(one['inputs'])
        if kind == 'wrong':
            one['inputs'] = [image.numpy() for image in one['inputs']]
        return one

    options = dict(mean=[1.0], std=[2.0], bgr_to_rgb=False)
    if kind != 'wrong':
        assert_same(*both(data, **options))
        assert len(others) == 2
        return
    model = StackingDetDataPreprocessor(**options)
    with pytest.raises(TypeError, match='cast_data'):
        model(data(), training=True)


def test_four_channels():
    numbers = dict(mean=[1.0, 2, 3, 4], std=[1.0, 2, 4, 8])
    options = {**OPTIONS, **numbers, 'bgr_to_rgb': False}
    preprocessor = StackingDetDataPreprocessor(**options)
    data = batch(SIZES['different'], channels=4)
    inputs = preprocessor(data)['inputs']
    assert inputs.shape == (2, 4, 24, 24)
    for image, (padded, (height, width)) in zip(
        data['inputs'], zip(inputs, SIZES['different'])
    ):
        for i in range(4):
            plain = (image[i].float() - numbers['mean'][i]) / 2**i
            assert torch.equal(padded[i, :height, :width], plain)
            assert not padded[i, height:].any()
    assert not preprocessor.state_dict()
    with pytest.raises(ValueError, match='got 4 and 3'):
        StackingDetDataPreprocessor(**{**options, 'std': [1.0, 1, 1]})


def test_the_images_stay_as_they_are():
    data = batch(SIZES['alike'])
    copies = [image.clone() for image in data['inputs']]
    StackingDetDataPreprocessor(**OPTIONS)(data)
    assert all(map(torch.equal, data['inputs'], copies))


def test_without_samples():
    model = StackingDetDataPreprocessor(**OPTIONS)
    assert isinstance(model, DetDataPreprocessor)
    out = model(dict(inputs=batch(SIZES['alike'])['inputs']))
    assert out['data_samples'] is None and out['inputs'].shape[0] == 3


def test_other_devices_go_by_torch():
    """What a GPU does, on the CPU."""
    model = StackingDetDataPreprocessor(**OPTIONS)
    images = batch(SIZES['alike'])['inputs']
    expected = model._stack(images)

    class Elsewhere(torch.Tensor):
        device = torch.device('cuda')

    found = model._stack([image.as_subclass(Elsewhere) for image in images])
    assert isinstance(found, Elsewhere)
    assert torch.equal(found.as_subclass(torch.Tensor), expected)


@pytest.mark.parametrize(
    'kind', [DetDataPreprocessor, StackingDetDataPreprocessor]
)
def test_no_images(kind):
    with pytest.raises(AssertionError, match='tensor_list'):
        kind(**OPTIONS)(dict(inputs=[], data_samples=[]))
