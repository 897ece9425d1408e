"""Masks are encoded as pycocotools does it."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from rfdetr_runtime.coco_runs import encode_mask, mask_area


def cases():
    """Noise, large parts, and the corners of the format."""
    rng = np.random.default_rng(0)
    for share in (0.01, 0.5, 0.99):
        yield rng.random((37, 53)) < share
    large = np.zeros((400, 300), bool)
    large[50:390, 20:280] = True
    large[100:110, 30:200] = False
    yield large
    yield from (np.zeros((3, 5), bool), np.ones((3, 5), bool))
    yield np.array([[True, False]])
    yield np.array([[False], [True]])
    yield np.ones((1, 1), bool)


@pytest.mark.parametrize('mask', cases(), ids=lambda m: str(m.shape))
def test_runs_are_those_of_pycocotools(mask):
    expected = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    found = encode_mask(mask)
    assert found['counts'] == expected['counts'].decode()
    assert found['size'] == expected['size']
    assert mask_area(found) == mask.sum()
