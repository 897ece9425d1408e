"""Batches augmented by kornia: what is drawn stays inside of its box."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from rfdetr_mm.errors import InputError
from rfdetr_mm.models.data_preprocessors import BatchKorniaAugment

pytest.importorskip('kornia')

HEIGHT, WIDTH = 48, 80
MEAN, STD = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]
BOXES = [[[20, 10, 40, 22], [50, 30, 60, 44]], [], [[8, 16, 30, 40]]]
GEOMETRIC = {
    'HorizontalFlip': {},
    'VerticalFlip': {},
    'Rotate': dict(limit=20),
    'Affine': dict(translate_percent=0.05, scale=(0.9, 1.1), shear=5),
    'ShiftScaleRotate': dict(shift_limit=0.05, rotate_limit=15),
    'Perspective': dict(scale=0.1),
}
PIXELS = {
    'ColorJitter': dict(brightness=0.3, hue=0.1),
    'RandomBrightnessContrast': {},
    'ToGray': {},
    'GaussianBlur': {},
    'Blur': {},
    'GaussNoise': {},
    'Sharpen': {},
    'Equalize': {},
    'CLAHE': {},
}


def preprocessor(transforms):
    return MODELS.build(
        dict(
            type='StackingDetDataPreprocessor',
            mean=MEAN,
            std=STD,
            pad_mask=True,
            batch_augments=[
                dict(type='BatchKorniaAugment', transforms=transforms)
            ],
        )
    )


def batch(masks=True, keypoints=False, mirrors=None, boxes=BOXES):
    """White boxes on black; keypoints are corner pixels of the boxes."""
    torch.manual_seed(3)
    data = dict(inputs=[], data_samples=[])
    for image_boxes in boxes:
        image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
        bitmaps = np.zeros((len(image_boxes), HEIGHT, WIDTH), np.uint8)
        points = torch.zeros(len(image_boxes), 2, 3)
        for bitmap, point, (x1, y1, x2, y2) in zip(
            bitmaps, points, image_boxes
        ):
            image[:, y1:y2, x1:x2] = 255
            bitmap[y1:y2, x1:x2] = 1
            point[:] = torch.tensor([[x1, y1, 2], [x2 - 1, y1, 2]])
        truth = InstanceData(
            bboxes=HorizontalBoxes(
                torch.tensor(image_boxes).reshape(-1, 4).float()
            ),
            labels=torch.arange(len(image_boxes)),
        )
        if masks:
            truth.masks = BitmapMasks(bitmaps, HEIGHT, WIDTH)
        if keypoints:
            truth.keypoints = points
            if mirrors is not None:
                truth.keypoint_mirrors = torch.tensor(mirrors).repeat(
                    len(image_boxes), 1
                )
        size = (HEIGHT, WIDTH)
        data['inputs'].append(image)
        data['data_samples'].append(
            DetDataSample(
                gt_instances=truth,
                metainfo=dict(
                    img_shape=size, pad_shape=size, batch_input_shape=size
                ),
            )
        )
    return data


def run(transforms, data, training=True):
    """Images from 0 to 1 and instances of each image."""
    out = preprocessor(transforms)(data, training)
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (MEAN, STD))
    images = (out['inputs'] * std + mean) / 255
    return images, [s.gt_instances for s in out['data_samples']]


def bounds(picture):
    """(x1, y1, x2, y2) of what is white."""
    ys, xs = np.nonzero(picture)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def always(transforms):
    return {name: dict(o, p=1.0) for name, o in transforms.items()}


@pytest.mark.parametrize('name', GEOMETRIC)
@pytest.mark.parametrize('seed', [0, 1])
def test_objects_follow(name, seed):
    data = batch()
    torch.manual_seed(seed)
    images, found = run(always({name: GEOMETRIC[name]}), data)
    assert images.shape == (3, 3, HEIGHT, WIDTH)
    assert len(found[1].bboxes) == 0 and len(found[1].masks) == 0
    for image, instances in zip(images, found):
        white = np.zeros((HEIGHT, WIDTH), bool)
        for box, mask in zip(instances.bboxes, instances.masks.masks):
            # Upright around a turned one: tight up to smoothed borders.
            np.testing.assert_allclose(bounds(mask), box, atol=1.6)
            white |= mask.astype(bool)
        # But for borders between black and white, which are grey
        differs = white != (image[0].numpy() > 0.5)
        assert differs.mean() < 0.02
    exact = 'Flip' in name
    moved = found[0].bboxes[0].tolist()
    if exact:
        x, y = (40, 10) if name == 'HorizontalFlip' else (20, 26)
        assert moved == [x, y, x + 20, y + 12]
        assert bounds(found[0].masks.masks[0]) == moved
    else:
        assert moved != BOXES[0][0]


def test_two_mirrors_are_none():
    flips = always({'HorizontalFlip': {}})
    once, found = run(flips, batch())
    again = batch()
    for sample, instances in zip(again['data_samples'], found):
        sample.gt_instances = instances
    again['inputs'] = [(i * 255).round().to(torch.uint8) for i in once]
    twice, back = run(flips, again)
    first, truth = run({}, batch())
    assert (twice - first).abs().max() < 1e-5
    for mine, other in zip(back, truth):
        assert torch.equal(mine.bboxes, other.bboxes)
        assert (mine.masks.masks == other.masks.masks).all()


@pytest.mark.parametrize('name', PIXELS)
def test_colours_leave_objects_alone(name):
    data, plain = batch(), batch()
    images, found = run(always({name: PIXELS[name]}), data)
    expected, truth = run({}, plain)
    for mine, other in zip(found, truth):
        assert torch.equal(mine.bboxes, other.bboxes)
        assert torch.equal(mine.labels, other.labels)
        assert (mine.masks.masks == other.masks.masks).all()
    assert images.isfinite().all()
    if name not in ('ToGray', 'Equalize', 'CLAHE', 'Sharpen'):
        assert (images - expected).abs().max() > 0.01


def test_validation_is_left_alone():
    images, found = run(always(GEOMETRIC), batch(), training=False)
    expected, truth = run({}, batch())
    assert torch.equal(images, expected)
    assert torch.equal(found[0].bboxes, truth[0].bboxes)


def test_keypoints_follow_and_change_sides():
    flip = always({'HorizontalFlip': {}})
    data = batch(masks=False, keypoints=True, mirrors=[1, 0])
    _, found = run(flip, data)
    # Pixels 20 and 39 of 80 become 59 and 40; left is left again.
    assert found[0].keypoints[0].tolist() == [[40, 10, 2], [59, 10, 2]]
    assert found[1].keypoints.shape == (0, 2, 3)


def test_keypoints_of_unknown_sides_are_not_mirrored():
    transforms = always({'HorizontalFlip': {}, 'Rotate': dict(limit=(9, 9))})
    data = batch(masks=False, keypoints=True)
    images, found = run(transforms, data)
    alone, expected = run(
        always({'Rotate': dict(limit=(9, 9))}),
        batch(masks=False, keypoints=True),
    )
    assert torch.equal(images, alone)
    assert torch.equal(found[0].keypoints, expected[0].keypoints)
    # A point lies on the picture of its corner: white beside black.
    x, y, _ = found[0].keypoints[0, 0].round().long().tolist()
    around = images[0, 0, y - 2 : y + 3, x - 2 : x + 3]
    assert around.max() > 0.9 and around.min() < 0.1


def test_what_leaves_the_image_is_left_out():
    shift = always({'Affine': dict(rotate=0, translate_percent=0.9)})
    boxes = [[[0, 0, 4, 4], [76, 44, 80, 48]]] * 4
    for masks in (True, False):
        torch.manual_seed(1)
        _, found = run(shift, batch(masks=masks, boxes=boxes))
        counts = [len(instances) for instances in found]
        assert min(counts) < 2
        for instances in found:
            assert len(instances.labels) == len(instances.bboxes)
            sides = instances.bboxes[:, 2:] - instances.bboxes[:, :2]
            assert (sides > 0).all()
            assert (instances.bboxes >= 0).all()
            if masks:
                assert instances.masks.masks.any(axis=(1, 2)).all()


def test_the_random_state_decides():
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        augment = preprocessor({**GEOMETRIC, **PIXELS})
        data = batch()
        torch.manual_seed(seed)
        results.append(augment(data, True)['inputs'])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_padded_images_cannot_be_moved():
    data = batch()
    data['inputs'][0] = data['inputs'][0][:, :40]
    data['data_samples'][0].set_metainfo(dict(img_shape=(40, WIDTH)))
    with pytest.raises(InputError, match='48 x 80 px .* has an image of 40 x'):
        run({'HorizontalFlip': {}}, data)


def test_normalisation_must_be_known():
    augment = BatchKorniaAugment({'ToGray': {}})
    with pytest.raises(InputError, match='by what the images were normalised'):
        augment(torch.zeros(1, 3, 8, 8), [])


def test_what_is_left_out_is_said():
    with pytest.warns(UserWarning, match=r'nothing for ToGray\(method\)'):
        BatchKorniaAugment({'ToGray': dict(method='average')})


def test_nothing_is_saved_with_the_weights():
    assert not preprocessor({'Rotate': {}}).state_dict()
