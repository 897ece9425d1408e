import numpy as np
import pytest
from pycocotools import mask as coco_mask

from rfdetr_mm.datasets.coco_masks import (
    DEGENERATE,
    MISSING,
    check_mask,
    mask_area,
)
from rfdetr_mm.errors import InputError

IMAGE = dict(id=1, height=4, width=6)
TRIANGLE = [1, 1, 5, 1, 1, 3]


def encoded(height, width, filled=True, compressed=True):
    mask = np.zeros((height, width), dtype=np.uint8, order='F')
    mask[1:3, 2:5] = filled
    if compressed:
        rle = coco_mask.encode(mask)
        return dict(size=[height, width], counts=rle['counts'].decode())
    flat = mask.flatten(order='F')
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return dict(size=[height, width], counts=counts)


def problem(segmentation):
    annotation = dict(id=8, segmentation=segmentation)
    return check_mask(annotation, IMAGE, 'file.json').problem


@pytest.mark.parametrize(
    'segmentation, expected',
    [
        ([TRIANGLE], None),
        ([[1, 1, 2, 2], TRIANGLE], None),
        (encoded(4, 6), None),
        (encoded(4, 6, compressed=False), None),
        (None, MISSING),
        ([], MISSING),
        ([[]], DEGENERATE),
        ([[1, 1, 5, 3]], DEGENERATE),  # two corners, a box to pycocotools
        ([[1, 1, 5, 1, 1]], DEGENERATE),
        ([[1, 1, 3, 3, 5, 5]], DEGENERATE),  # a line
        ([[1, 1, 5, 1, 1, float('nan')]], DEGENERATE),
        (encoded(4, 6, filled=False), DEGENERATE),
        (encoded(4, 6, filled=False, compressed=False), DEGENERATE),
    ],
)
def test_what_can_be_left_out(segmentation, expected):
    assert problem(segmentation) == expected


def test_an_annotation_without_the_field():
    assert check_mask(dict(id=8), IMAGE, 'file.json').problem == MISSING


@pytest.mark.parametrize(
    'segmentation, message',
    [
        (encoded(6, 4), r'size \[6, 4\], but its image has \[4, 6\]'),
        (encoded(6, 4, compressed=False), r'size \[6, 4\], but'),
        (dict(counts='abc'), 'size None'),
        (dict(size=[4, 6]), 'no usable counts.*None'),
        (dict(size=[4, 6], counts=''), 'no usable counts'),
        (dict(size=[4, 6], counts=[3, 4]), r'4 \* 6 = 24, but give 7'),
        (dict(size=[4, 6], counts=[30, -6]), 'no usable counts.*30, -6'),
        (TRIANGLE, r'list of polygons .* got \[1, 1, 5'),
        ('text', 'list of polygons'),
        ([['a'] * 6], 'list of polygons'),
        ([[None, 1]], 'list of polygons'),
        ([[1, 1, 5, 1, 1, True]], 'list of polygons'),
        ([{}], 'list of polygons'),
        (
            dict(size=[4, 6], counts=['1', 23]),
            'no usable counts.*whole numbers',
        ),
        (7, 'got 7'),
    ],
)
def test_what_is_an_error(segmentation, message):
    with pytest.raises(InputError, match=message) as error:
        problem(segmentation)
    assert 'file.json' in str(error.value)
    assert 'annotation 8' in str(error.value)


PAIRS = [[1, 1], [5, 1], [1, 3]]


@pytest.mark.parametrize(
    'found, usable, num_dropped',
    [
        ([TRIANGLE], [TRIANGLE], 0),
        (PAIRS, [TRIANGLE], 0),  # label-convert
        ([PAIRS], [TRIANGLE], 0),
        ([PAIRS, TRIANGLE], [TRIANGLE] * 2, 0),
        ([TRIANGLE, [1, 1, 5, 3]], [TRIANGLE], 1),
        ([[], TRIANGLE, [1, 2, 3], [1, 1, 3, 3, 5, 5]], [TRIANGLE], 3),
        ([[1, 1], [5, 3]], None, 1),  # two corners
        (encoded(4, 6), encoded(4, 6), 0),
    ],
)
def test_what_is_usable_of_a_mask(found, usable, num_dropped):
    annotation = dict(id=8, segmentation=found)
    checked = check_mask(annotation, IMAGE, 'file.json')
    assert checked.segmentation == usable
    assert checked.num_dropped == num_dropped
    assert (checked.problem is None) == (usable is not None)


def test_an_encoding_of_an_image_of_unknown_size():
    image = dict(id=1, height=None, width=None)
    annotation = dict(id=8, segmentation=encoded(4, 6))
    assert check_mask(annotation, image, 'file.json').problem is None


@pytest.mark.parametrize(
    'found, area',
    [
        (None, 0),
        ([TRIANGLE], 4),
        (PAIRS, 4),
        ([TRIANGLE, TRIANGLE], 8),
        ('text', 0),
        ([['a']], 0),
        (encoded(4, 6), 6),
        (encoded(4, 6, compressed=False), 6),
        (dict(counts='abc'), 0),
    ],
)
def test_area_of_a_mask(found, area):
    assert mask_area(dict(segmentation=found)) == area
