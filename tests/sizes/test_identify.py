"""Names and numbers lead to one size, to several, or to none."""

import pytest

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.identify import (
    CHANGEABLE,
    FIXED,
    find_size,
    size_in_file_name,
    sizes_of_numbers,
    task_of_head,
    task_of_weights,
)
from rfdetr_mm_light.sizes import DETECTION, SEGMENTATION, SIZES


@pytest.mark.parametrize(
    'name, expected',
    [
        ('nano', 'RFDETRNano'),
        ('Nano', 'RFDETRNano'),
        ('RFDETRNano', 'RFDETRNano'),
        ('rfdetr-nano', 'RFDETRNano'),
        ('rf-detr-nano', 'RFDETRNano'),
        ('rfdetr_nano_coco', 'RFDETRNano'),
        ('rfdetr_nano_custom.py', 'RFDETRNano'),
        ('seg-2xlarge', 'RFDETRSeg2XLarge'),
        ('rfdetr-seg_2xlarge_coco', 'RFDETRSeg2XLarge'),
        ('rfdetr_large-deprecated_coco', 'RFDETRLargeDeprecated'),
    ],
)
def test_names_of_sizes(name, expected):
    assert find_size(name).class_name == expected


def test_every_size_has_a_name():
    for size in SIZES.values():
        for name in (size.short_name, size.class_name, size.config[:-3]):
            assert find_size(name.rpartition('/')[2]) is size


@pytest.mark.parametrize(
    'name, hint',
    [
        ('nanno', 'mean nano'),
        ('seg-nan', 'mean seg-nano'),
        ('zz', 'Sizes are: nano'),
    ],
)
def test_unknown_sizes(name, hint):
    with pytest.raises(InputError, match=f'no size .{name}.*{hint}'):
        find_size(name)


@pytest.mark.parametrize(
    'name, expected',
    [
        ('rf-detr-nano.pth', 'RFDETRNano'),
        ('RF-DETR_Nano.PTH', 'RFDETRNano'),
        ('rf-detr-xxlarge.pth', 'RFDETR2XLarge'),
        ('rfdetr_2xlarge_custom', 'RFDETR2XLarge'),
        ('rf-detr-xlarge.pth', 'RFDETRXLarge'),
        ('rf-detr-large-2026.pth', 'RFDETRLarge'),
        # rfdetr itself takes its first Large for the later one.
        ('rf-detr-large.pth', 'RFDETRLarge'),
        ('rfdetr_large-deprecated_custom', 'RFDETRLargeDeprecated'),
        ('rf-detr-base-o365.pth', 'RFDETRBase'),
        ('rf-detr-seg-xxlarge.pt', 'RFDETRSeg2XLarge'),
        ('rfdetr-seg_nano_custom_20261124', 'RFDETRSegNano'),
        ('baseline-nano.pth', 'RFDETRNano'),
        ('rf-detr-keypoint-preview-xlarge.pth', 'RFDETRKeypointPreview'),
        ('epoch_12.pth', None),
        ('', None),
    ],
)
def test_sizes_in_names_of_files(name, expected):
    size = size_in_file_name(name)
    assert (size and size.class_name) == expected


def test_the_own_file_of_every_size_names_it():
    for size in SIZES.values():
        if size.class_name != 'RFDETRLargeDeprecated':
            assert size_in_file_name(size.weights) is size
            assert size_in_file_name(size.config) is size


def numbers_of(size):
    return {name: getattr(size, name) for name in (*FIXED, *CHANGEABLE)}


def names(sizes):
    return [size.class_name for size in sizes]


def test_the_numbers_of_a_size_are_its_own():
    for size in SIZES.values():
        numbers = numbers_of(size)
        assert sizes_of_numbers(size.task, numbers) == [size]


def test_what_is_not_known_leaves_several_sizes():
    numbers = numbers_of(SIZES['RFDETRMedium'])
    for name in ('positional_encoding_size', 'num_windows', 'num_queries'):
        del numbers[name]
    both = ['RFDETRMedium', 'RFDETRLarge']
    assert names(sizes_of_numbers(DETECTION, numbers)) == both
    # A number that no size has decides nothing.
    numbers['positional_encoding_size'] = 40
    assert names(sizes_of_numbers(DETECTION, numbers)) == both
    numbers['positional_encoding_size'] = 44
    assert names(sizes_of_numbers(DETECTION, numbers)) == both[1:]


@pytest.mark.parametrize(
    'name', ['encoder', 'patch_size', 'hidden_dim', 'dec_layers']
)
def test_the_fixed_numbers_have_to_agree(name):
    numbers = numbers_of(SIZES['RFDETRNano'])
    assert sizes_of_numbers(DETECTION, {**numbers, name: 7}) == []
    del numbers[name]
    assert sizes_of_numbers(DETECTION, numbers) == []


def test_tasks():
    numbers = numbers_of(SIZES['RFDETRNano'])
    assert sizes_of_numbers(SEGMENTATION, numbers) == []
    assert task_of_head('RFDETRInsHead') is SEGMENTATION
    assert task_of_head('RFDETRHead') is task_of_head('Other') is DETECTION
    keys = ['backbone.pos_embed', 'bbox_head.mask_branch.bias']
    assert task_of_weights(keys) is SEGMENTATION
    assert task_of_weights(iter(keys[:1])) is DETECTION
