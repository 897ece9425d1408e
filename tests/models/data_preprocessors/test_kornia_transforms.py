"""Names and options of Albumentations, translated for kornia."""

import pytest
import torch

from rfdetr_mm.errors import InputError
from rfdetr_mm.models.data_preprocessors.kornia_transforms import (
    TRANSFORMS,
    arguments_of,
    build,
)

# name, options, class of kornia, its arguments without p
CASES = [
    ('HorizontalFlip', {}, 'RandomHorizontalFlip', {}),
    ('VerticalFlip', {}, 'RandomVerticalFlip', {}),
    ('Rotate', {}, 'RandomRotation', dict(degrees=(-15, 15))),
    ('Rotate', dict(limit=(5, 20)), 'RandomRotation', dict(degrees=(5, 20))),
    (
        'Affine',
        dict(translate_percent=(-0.1, 0.2), scale=1.2, shear=(-5, 5)),
        'RandomAffine',
        dict(
            degrees=(-15, 15),
            translate=(0.2, 0.2),
            scale=(1.2, 1.2),
            shear=(-5, 5),
        ),
    ),
    (
        'ShiftScaleRotate',
        dict(shift_limit=0.1, shift_limit_y=(0, 0.3), scale_limit=(-0.5, 0.1)),
        'RandomAffine',
        dict(degrees=(-45, 45), translate=(0.1, 0.3), scale=(0.5, 1.1)),
    ),
    (
        'Perspective',
        dict(scale=0.3),
        'RandomPerspective',
        dict(distortion_scale=0.3),
    ),
    (
        'ColorJitter',
        dict(brightness=0.2, hue=0.1),
        'ColorJiggle',
        dict(brightness=0.2, contrast=0.0, saturation=0.0, hue=0.1),
    ),
    (
        'RandomBrightnessContrast',
        dict(brightness_limit=0.1),
        'ColorJiggle',
        dict(brightness=0.1, contrast=0.2),
    ),
    ('ToGray', {}, 'RandomGrayscale', {}),
    (
        'GaussianBlur',
        dict(blur_limit=(3, 6), sigma=1),
        'RandomGaussianBlur',
        dict(kernel_size=(7, 7), sigma=(1, 1)),
    ),
    ('Blur', {}, 'RandomBoxBlur', dict(kernel_size=(7, 7))),
    ('Blur', dict(blur_limit=2), 'RandomBoxBlur', dict(kernel_size=(3, 3))),
    ('GaussNoise', {}, 'RandomGaussianNoise', dict(std=0.44)),
    ('Sharpen', {}, 'RandomSharpness', dict(sharpness=(1.2, 1.5))),
    ('Equalize', {}, 'RandomEqualize', {}),
    (
        'CLAHE',
        dict(clip_limit=3, tile_grid_size=(4, 4)),
        'RandomClahe',
        dict(clip_limit=(1, 3), grid_size=(4, 4)),
    ),
]


@pytest.mark.parametrize(
    'name, options, kind, expected',
    CASES,
    ids=[f'{number}-{case[0]}' for number, case in enumerate(CASES)],
)
def test_translation(name, options, kind, expected):
    given = dict(options)
    found = arguments_of(name, options)
    assert found == (kind, dict(expected, p=0.5), [])
    assert options == given  # left as it was
    assert arguments_of(name, dict(options, p=0.25))[1]['p'] == 0.25


def test_every_transform_has_a_case():
    assert {case[0] for case in CASES} == set(TRANSFORMS)
    assert len(TRANSFORMS) == 15


@pytest.mark.parametrize(
    'name, options, message',
    [
        ('RandomCrop', {}, "'RandomCrop' is not among .*CLAHE.*mmdet's Albu"),
        ('Rotate', dict(angle=3), "Rotate does not know 'angle'"),
        ('Rotate', dict(p=2), 'p is a probability from 0 to 1, got 2'),
        ('Rotate', dict(p='often'), "got 'often'"),
        ('Rotate', dict(limit='far'), "number or a pair .*'far'"),
        ('Rotate', dict(limit=(20, 5)), 'lower end is above'),
        ('Blur', dict(blur_limit=(1, 2, 3)), 'a number or a pair of numbers'),
        ('CLAHE', dict(tile_grid_size=4), 'CLAHE cannot be made of'),
        ('Perspective', dict(keep_size=False), 'leave keep_size out'),
    ],
)
def test_refusals(name, options, message):
    with pytest.raises(InputError, match=message):
        arguments_of(name, options)


def test_options_that_kornia_lacks_are_named():
    found = arguments_of('Rotate', dict(limit=3, fill=0, border_mode=1))
    assert found[2] == ['border_mode', 'fill']
    assert found[1] == dict(degrees=(-3, 3), p=0.5)


@pytest.mark.parametrize(
    'name, options',
    [case[:2] for case in CASES],
    ids=[f'{number}-{case[0]}' for number, case in enumerate(CASES)],
)
def test_kornia_takes_what_rfdetr_gives_it(name, options):
    """The same transform as rfdetr builds of the same options."""
    pytest.importorskip('kornia')
    upstream = pytest.importorskip('rfdetr.datasets.kornia_transforms')
    theirs = upstream._REGISTRY[name](options)
    kind, arguments, _ = arguments_of(name, options)
    ours = build(kind, arguments)
    assert type(ours) is type(theirs)
    images = torch.rand(6, 3, 32, 48, generator=torch.manual_seed(0))
    results = []
    for transform in (ours, theirs):
        torch.manual_seed(1)
        results.append(transform(images))
    assert torch.equal(*results)
    assert not torch.equal(results[0], images)


def test_what_kornia_refuses():
    pytest.importorskip('kornia')
    with pytest.raises(InputError, match='kornia refuses RandomRotation'):
        build('RandomRotation', dict(degrees='far', p=0.5))
