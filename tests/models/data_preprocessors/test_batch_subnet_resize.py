import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures.mask import BitmapMasks

from rfdetr_mm.models.data_preprocessors import BatchSubnetResize
from tests.small_detector import batch


def preprocessor():
    return MODELS.build(
        dict(
            type='DetDataPreprocessor',
            mean=[0, 0, 0],
            std=[255, 255, 255],
            pad_mask=True,
            batch_augments=[dict(type='BatchSubnetResize')],
        )
    )


def with_masks(data):
    for sample in data['data_samples']:
        count = len(sample.gt_instances)
        sample.gt_instances.masks = BitmapMasks(
            torch.ones(count, 64, 96, dtype=torch.uint8).numpy(), 64, 96
        )
    return data


def test_images_boxes_and_masks_shrink_together():
    module = preprocessor()
    whole = module(with_masks(batch(0, [2, 0])), True)
    module.batch_augments[0].size = (32, 72)
    shrunk = module(with_masks(batch(0, [2, 0])), True)
    expected = F.interpolate(
        whole['inputs'], (32, 72), mode='bilinear', antialias=True
    )
    assert torch.equal(shrunk['inputs'], expected)
    plain = F.interpolate(whole['inputs'], (32, 72), mode='bilinear')
    assert not torch.allclose(plain, expected, atol=0.05)
    for before, after in zip(whole['data_samples'], shrunk['data_samples']):
        assert after.img_shape == after.batch_input_shape == (32, 72)
        factors = torch.tensor([0.75, 0.5] * 2)
        torch.testing.assert_close(
            after.gt_instances.bboxes, before.gt_instances.bboxes * factors
        )
        masks = after.gt_instances.masks
        assert masks.masks.shape == (len(after.gt_instances), 32, 72)


def test_only_training_is_touched_and_only_when_told():
    module = preprocessor()
    assert module(batch(0, [1]), True)['inputs'].shape[-2:] == (64, 96)
    module.batch_augments[0].size = (32, 32)
    assert module(batch(0, [1]), False)['inputs'].shape[-2:] == (64, 96)


def test_images_that_are_too_small_are_explained():
    resize = BatchSubnetResize()
    resize.size = (64, 112)
    with pytest.raises(ValueError, match=r'64 x 112 px.*batch has 64 x 96'):
        resize(torch.zeros(1, 3, 64, 96), [])
