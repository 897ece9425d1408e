import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from demo import tiny_shapes


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('shapes')
    tiny_shapes.write_tiny_shapes(folder, {'train': 40, 'val': 5})
    return folder


def read(folder, split='train'):
    return json.loads((folder / f'{split}.json').read_text())


def test_the_same_seed_draws_the_same_bytes(folder, tmp_path):
    tiny_shapes.write_tiny_shapes(tmp_path, {'train': 3})
    again, first = read(tmp_path), read(folder)
    assert again['images'] == first['images'][:3]
    count = len(again['annotations'])
    assert again['annotations'] == first['annotations'][:count]
    for info in again['images']:
        name = f'images/{info["file_name"]}'
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_splits_differ(folder):
    train, val = read(folder), read(folder, 'val')
    assert [len(c['images']) for c in (train, val)] == [40, 5]
    assert train['annotations'][0]['bbox'] != val['annotations'][0]['bbox']


def test_boxes_are_tight_around_the_masks_and_inside(folder):
    height, width = tiny_shapes.IMAGE_HW
    for ann in read(folder)['annotations']:
        mask = coco_mask.decode(ann['segmentation'])
        assert mask.shape == (height, width)
        rows, columns = np.nonzero(mask)
        x, y, w, h = ann['bbox']
        assert (x, y) == (columns.min(), rows.min())
        assert (x + w, y + h) == (columns.max() + 1, rows.max() + 1)
        assert ann['area'] == mask.sum() > 0


def test_masks_of_an_image_do_not_overlap(folder):
    content = read(folder)
    for info in content['images']:
        masks = [
            coco_mask.decode(ann['segmentation'])
            for ann in content['annotations']
            if ann['image_id'] == info['id']
        ]
        assert sum(masks).max() == 1


def test_as_hard_as_written_down():
    """Sizes, crowding and hiding that the docstring promises."""
    rng = np.random.default_rng(3)
    scenes = [tiny_shapes.draw_scene(rng) for _ in range(100)]
    counts = {len(scene.labels) for scene in scenes}
    assert max(counts) <= 6 and {3, 4, 5, 6} <= counts
    shown = np.array(
        [
            mask.sum() / area
            for scene in scenes
            for mask, area in zip(scene.masks, scene.areas)
        ]
    )
    assert shown.min() >= tiny_shapes.MIN_VISIBLE
    assert 0.25 < (shown < 0.95).mean() < 0.75
    labels = np.concatenate([scene.labels for scene in scenes])
    assert set(labels.tolist()) == set(range(12))
    pixels = np.stack([scene.pixels for scene in scenes])
    assert pixels.std(axis=(1, 2)).mean() > 0.08  # textured, not flat


def test_colours_and_shapes_are_those_of_the_names():
    """The middle of a whole shape has the hue of its class."""
    rng = np.random.default_rng(4)
    strongest = {'red': 0, 'green': 1, 'blue': 2}
    checked = set()
    for _ in range(60):
        scene = tiny_shapes.draw_scene(rng)
        label, mask = scene.labels[-1], scene.masks[-1]
        hue, _ = tiny_shapes.CLASSES[label].split()
        colour = scene.pixels[mask].mean(axis=0)
        assert colour.argmax() == strongest[hue]
        checked.add(hue)
    assert len(checked) == 3


@pytest.mark.parametrize(
    'shape, area',
    [
        ('circle', np.pi),
        ('square', 2),
        ('triangle', 3**1.5 / 4),
        ('cross', (4 * 0.7 - 0.7**2) / (1 + 0.35**2)),
    ],
)
def test_outlines(shape, area):
    """Area by the shoelace formula against the one from school."""
    x, y = tiny_shapes.outline(shape).T
    found = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    assert found == pytest.approx(area, rel=0.004)
    assert np.hypot(x, y).max() == pytest.approx(1)


def test_images_have_the_size_of_the_annotations(folder):
    for info in read(folder)['images']:
        image = Image.open(folder / 'images' / info['file_name'])
        assert image.size == (info['width'], info['height']) == (160, 120)
