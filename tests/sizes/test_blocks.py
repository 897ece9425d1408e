"""Sizes that windows of patches fill, and what is said of others."""

import math

import pytest

from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.blocks import (
    check_divisible,
    multi_scale_sizes,
    nearest_sizes,
    parse_resolution,
    rounded_to_blocks,
)


@pytest.mark.parametrize(
    'value, size_hw',
    [
        (32, (32, 32)),
        (384, (384, 384)),
        ((192, 256), (192, 256)),
        ([192, 256], (192, 256)),
    ],
)
def test_legal_resolutions(value, size_hw):
    assert parse_resolution(value, 16, 2) == size_hw


@pytest.mark.parametrize(
    'value, near',
    [
        (0, 'nearest legal size is 32 x 32'),
        (-64, 'nearest legal size is 32 x 32'),
        (97, 'nearest legal sizes are 96 x 96 and 128 x 128'),
        (100, r'100 = 3 \* 32 \+ 4.*96 x 96 and 128 x 128'),
        ((192, 100), 'nearest legal sizes are 192 x 96 and 192 x 128'),
        ((0, 64), 'nearest legal size is 32 x 64'),
        ((192, 256, 3), 'nearest legal size is 192 x 256'),
        ((100,), '96 x 96 and 128 x 128'),
        (100.5, '96 x 96 and 128 x 128'),
        (384.0, 'nearest legal size is 384 x 384'),
        ('large', 'Legal are 32, 64, 96'),
        ('', 'Legal are 32, 64, 96'),
        (('a', 'b'), 'Legal are 32, 64, 96'),
        (True, 'Legal are 32, 64, 96'),
        (None, 'Legal are 32, 64, 96'),
        (math.nan, 'Legal are 32, 64, 96'),
        (math.inf, 'Legal are 32, 64, 96'),
        ({}, 'Legal are 32, 64, 96'),
    ],
)
def test_other_resolutions_are_one_error(value, near):
    with pytest.raises(InputError, match=near) as error:
        parse_resolution(value, 16, 2)
    message = str(error.value)
    assert message.startswith('resolution') and '\n' not in message
    assert 'patch_size * num_windows = 16 * 2 = 32' in message
    assert repr(value) in message


@pytest.mark.parametrize('patch, windows', [(16, 2), (14, 4), (12, 1), (1, 1)])
def test_a_size_is_legal_or_its_neighbours_are(patch, windows):
    block = patch * windows
    for size_hw in [(h, w) for h in range(1, 90, 7) for w in (5, 56, 60)]:
        is_legal = all(side % block == 0 for side in size_hw)
        if is_legal:
            check_divisible('it', size_hw, patch, windows)
        else:
            with pytest.raises(InputError):
                check_divisible('it', size_hw, patch, windows)
        for near in nearest_sizes(size_hw, block):
            check_divisible('it', near, patch, windows)
            assert all(
                abs(a - b) < block or a == block for a, b in zip(near, size_hw)
            )


def test_rounding():
    assert [rounded_to_blocks(s, 32) for s in (1, 47, 48, 79, 80)] == [
        32,
        32,
        64,
        64,
        96,
    ]


def test_multi_scale_sizes_say_what_is_wrong():
    with pytest.raises(InputError, match=r'8 \* 2 = 16 px.*96 x 96'):
        multi_scale_sizes(100, 8, 2)
