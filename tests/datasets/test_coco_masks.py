import numpy as np
import pytest
from pycocotools import mask as coco_mask

from rfdetr_mm.datasets.coco_masks import (
    DEGENERATE,
    MISSING,
    find_mask_problem,
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
    return find_mask_problem(annotation, IMAGE, 'file.json')


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
    assert find_mask_problem(dict(id=8), IMAGE, 'file.json') == MISSING


@pytest.mark.parametrize(
    'segmentation, message',
    [
        (encoded(6, 4), r'size \[6, 4\], but its image has \[4, 6\]'),
        (encoded(6, 4, compressed=False), r'size \[6, 4\], but'),
        (dict(counts='abc'), 'size None'),
        (dict(size=[4, 6]), 'no counts.*None'),
        (dict(size=[4, 6], counts=''), 'no counts'),
        (dict(size=[4, 6], counts=[3, 4]), r'4 \* 6 = 24, but give 7'),
        (dict(size=[4, 6], counts=[30, -6]), 'but give 24'),
        (TRIANGLE, r'list of polygons .* got \[1, 1, 5'),
        ('text', 'list of polygons'),
        (7, 'got 7'),
    ],
)
def test_what_is_an_error(segmentation, message):
    with pytest.raises(InputError, match=message) as error:
        problem(segmentation)
    assert 'file.json' in str(error.value)
    assert 'annotation 8' in str(error.value)
