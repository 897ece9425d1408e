import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData

from rfdetr_mm.models.layers import full_size_masks
from rfdetr_mm.models.layers.full_size_masks import (
    gt_mask_tensor,
    resize_masks,
)

CPU = torch.device('cpu')


def objects(masks, count=2):
    instances = InstanceData(labels=torch.zeros(count).long())
    instances.set_field(masks, 'masks', dtype=type(masks))
    return instances


def square(height, width):
    """Two masks: (1..3, 2..5) and nothing."""
    masks = np.zeros((2, height, width), np.uint8)
    masks[0, 1:4, 2:6] = 1
    return masks


@pytest.mark.parametrize('kind', ['bitmap', 'polygon', 'tensor'])
def test_masks_of_all_kinds_on_the_padded_canvas(kind):
    height, width = 6, 9
    masks = square(height, width)
    given = {
        'bitmap': BitmapMasks(masks, height, width),
        'polygon': PolygonMasks(
            [[np.array([2.0, 1, 6, 1, 6, 4, 2, 4])], [np.zeros(6)]],
            height,
            width,
        ),
        'tensor': torch.from_numpy(masks),
    }[kind]
    meta = dict(img_shape=(6, 9), batch_input_shape=(8, 12))
    found = gt_mask_tensor(objects(given), meta, CPU)
    assert found.dtype == torch.bool and found.shape == (2, 8, 12)
    assert torch.equal(found, torch.from_numpy(square(8, 12)).bool())


def test_masks_that_are_padded_already():
    masks = BitmapMasks(square(8, 12), 8, 12)
    meta = dict(img_shape=(6, 9), batch_input_shape=(8, 12))
    found = gt_mask_tensor(objects(masks), meta, CPU)
    assert torch.equal(found, torch.from_numpy(square(8, 12)).bool())


@pytest.mark.parametrize(
    'masks', [BitmapMasks([], 6, 9), PolygonMasks([], 6, 9)]
)
def test_image_without_objects(masks):
    found = gt_mask_tensor(objects(masks, 0), dict(img_shape=(6, 9)), CPU)
    assert found.shape == (0, 6, 9)


def test_missing_masks():
    with pytest.raises(ValueError, match=r"\['labels'\] only.*with_mask=True"):
        gt_mask_tensor(
            InstanceData(labels=torch.zeros(1)), dict(img_shape=(6, 9)), CPU
        )


@pytest.mark.parametrize(
    'shape, count', [((2, 9, 6), 2), ((2, 6, 10), 2), ((2, 6, 9), 3)]
)
def test_masks_of_another_size_or_number(shape, count):
    masks = BitmapMasks(np.zeros(shape, np.uint8), *shape[1:])
    with pytest.raises(ValueError, match='one mask for each object') as error:
        gt_mask_tensor(objects(masks, count), dict(img_shape=(6, 9)), CPU)
    assert str(shape) in str(error.value) and '(6, 9) px' in str(error.value)


def test_masks_of_another_type():
    with pytest.raises(TypeError, match='got list'):
        gt_mask_tensor(objects([[1], [2]]), dict(img_shape=(6, 9)), CPU)


META = dict(img_shape=(48, 60), batch_input_shape=(48, 60))


@pytest.mark.parametrize('size_px', [(30, 41), (100, 77), (12, 15)])
def test_resizing_without_padding(size_px):
    logits = torch.randn(5, 12, 15)
    expected = F.interpolate(
        logits[None], size=size_px, mode='bilinear', align_corners=False
    )[0]
    found = resize_masks(logits, META, size_px)
    assert found.dtype == torch.bool
    assert torch.equal(found, expected > 0)
    assert torch.equal(resize_masks(logits, dict(META), size_px), found)


def test_chunks_do_not_matter(monkeypatch):
    logits = torch.randn(7, 12, 15)
    whole = resize_masks(logits, META, (30, 41))
    seen = []
    resize = full_size_masks._resize

    def counted(chunk, *args):
        seen.append(len(chunk))
        return resize(chunk, *args)

    monkeypatch.setattr(full_size_masks, '_resize', counted)
    for pixels, sizes in ((3 * 30 * 41, [3, 3, 1]), (1, [1] * 7)):
        seen.clear()
        monkeypatch.setattr(full_size_masks, 'CHUNK_PIXELS', pixels)
        assert torch.equal(resize_masks(logits, META, (30, 41)), whole)
        assert seen == sizes


def test_no_detections():
    found = resize_masks(torch.zeros(0, 12, 15), META, (30, 41))
    assert found.shape == (0, 30, 41)


@pytest.mark.parametrize('size_px', [(37, 45), (74, 90), (20, 23)])
def test_padding_is_cut_off(size_px):
    """A straight edge at 46 % of the image stays there.

    The image has 37 x 45 of the 48 x 60 px of the padded input.
    """
    meta = dict(img_shape=(37, 45), batch_input_shape=(48, 60))
    x = (torch.arange(15) + 0.5) / 15 * 60  # px of the input
    y = (torch.arange(12) + 0.5) / 12 * 48
    logits = torch.stack(
        [
            (x - 0.46 * 45).expand(12, -1),
            (y - 0.46 * 37)[:, None].expand(-1, 15),
        ]
    )
    masks = resize_masks(logits, meta, size_px)
    height, width = size_px
    columns, rows = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    assert torch.equal(masks[0], (columns > 0.46 * width).expand(height, -1))
    assert torch.equal(
        masks[1], (rows > 0.46 * height)[:, None].expand(-1, width)
    )
