"""The clip: its boxes are those of what is drawn, and its shapes move."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    sys.path.insert(0, str(ROOT / 'demo'))
    try:
        import tiny_clip
    finally:
        sys.path.pop(0)
    folder = tmp_path_factory.mktemp('clip')
    tiny_clip.write_clip(folder, 5)
    content = json.loads((folder / 'clip.json').read_text())
    return tiny_clip, folder, content


def test_frames_in_order(clip):
    module, folder, content = clip
    assert [image['frame_id'] for image in content['images']] == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert {image['video_id'] for image in content['images']} == {1}
    for image in content['images']:
        pixels = np.asarray(Image.open(folder / 'images' / image['file_name']))
        assert pixels.shape == (*module.IMAGE_HW, 3)
        assert pixels.shape[:2] == (image['height'], image['width'])


def test_each_shape_has_its_number_and_moves_without_meeting(clip):
    module, _, content = clip
    names = {c['id']: c['name'] for c in content['categories']}
    centres = {}
    for ann in content['annotations']:
        name, *_ = module.SHAPES[ann['instance_id'] - 1]
        assert names[ann['category_id']] == name
        x, y, w, h = ann['bbox']
        centres.setdefault(name, []).append((x + w / 2, y + h / 2))
        assert ann['area'] == coco_mask.decode(ann['segmentation']).sum() > 200
    assert len(centres) == len(module.SHAPES)
    for name, radius, first, last in module.SHAPES:
        way = np.array(centres[name])
        assert len(way) == 5
        assert np.abs(way[0] - first).max() < radius / 2
        assert np.abs(way[-1] - last).max() < radius / 2
        steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
        assert steps.max() - steps.min() < 3  # straight on, at one speed
    keys = [ann['id'] for ann in content['annotations']]
    assert keys == list(range(1, len(keys) + 1))
