import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

DEMO = Path(__file__).parents[2] / 'demo'
SPLITS = {'train': 6, 'val': 2}


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """The data set with masks and the shapes that it is made of."""
    sys.path.insert(0, str(DEMO))
    try:
        from tiny_masks import write_tiny_masks
        from tiny_shapes import write_tiny_shapes
    finally:
        sys.path.pop(0)
    root = tmp_path_factory.mktemp('data')
    write_tiny_masks(root / 'masks', SPLITS)
    write_tiny_shapes(root / 'shapes', SPLITS)
    return root / 'masks', root / 'shapes'


@pytest.mark.parametrize('split', list(SPLITS))
def test_only_the_classes_differ_from_the_shapes(folders, split):
    masks, shapes = (
        json.loads((folder / f'{split}.json').read_text())
        for folder in folders
    )
    assert masks['images'] == shapes['images']
    names = [category['name'] for category in masks['categories']]
    assert names == ['red', 'green', 'blue']
    shape_names = {c['id']: c['name'] for c in shapes['categories']}
    for new, old in zip(
        masks['annotations'], shapes['annotations'], strict=True
    ):
        colour, _ = shape_names[old.pop('category_id')].split()
        assert names[new.pop('category_id') - 1] == colour
        assert new == old
    for info in masks['images']:
        name = f'images/{info["file_name"]}'
        first, second = ((f / name).read_bytes() for f in folders)
        assert first == second


def test_the_colour_under_a_mask_is_the_class(folders):
    content = json.loads((folders[0] / 'train.json').read_text())
    files = {image['id']: image['file_name'] for image in content['images']}
    for annotation in content['annotations']:
        image = Image.open(
            folders[0] / 'images' / files[annotation['image_id']]
        )
        mask = coco_mask.decode(annotation['segmentation']).astype(bool)
        colour = np.asarray(image)[mask].mean(axis=0)
        assert colour.argmax() == annotation['category_id'] - 1
