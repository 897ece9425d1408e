"""The shipped weights have seen nothing of what the demo is made of."""

import colorsys
import json

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image, ImageDraw

from demo import tiny_shapes

from .conftest import DEMO

DEMO_SPREAD = 0.05  # of a hue, to each side
DEMO_SATURATION = 0.5  # of shapes, at least


@pytest.fixture
def module(demo):
    return demo('pretraining_shapes')


@pytest.fixture
def folder(module, tmp_path):
    module.write_pretraining_shapes(tmp_path, {'train': 30, 'val': 4})
    return tmp_path


def read(folder, split='train'):
    return json.loads((folder / f'{split}.json').read_text())


def silhouette(corners, angle):
    """A shape of a fixed area about its centre of mass, as pixels."""
    turn = np.array(
        [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    )
    x, y = corners.T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    area = cross.sum() / 2
    centre = ((corners + np.roll(corners, -1, 0)) * cross[:, None]).sum(0)
    points = (corners - centre / (6 * area)) / np.sqrt(abs(area)) @ turn
    canvas = Image.new('1', (200, 200))
    ImageDraw.Draw(canvas).polygon(
        (100 + 70 * points).ravel().tolist(), fill=1
    )
    return np.asarray(canvas)


def test_no_shape_of_the_demo_occurs(module):
    """No two cover each other by 95 % or more, however they are turned."""
    assert not set(module.SHAPES) & set(tiny_shapes.SHAPES)
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    for name in module.SHAPES:
        turned = [silhouette(module.OUTLINES[name], a) for a in angles]
        for other in tiny_shapes.SHAPES:
            fixed = silhouette(tiny_shapes.outline(other), 0)
            overlap = max(
                (t & fixed).sum() / (t | fixed).sum() for t in turned
            )
            assert overlap < 0.95, (name, other)


def test_two_silhouettes_of_one_shape_do_cover_each_other():
    """The measure above can fail."""
    square = tiny_shapes.outline('square')
    one, other = silhouette(square, 0), silhouette(3 * square + 1, np.pi / 2)
    assert (one & other).sum() / (one | other).sum() > 0.95


def hue_distance(one, other):
    return abs((one - other + 0.5) % 1 - 0.5)


def hsv_of(pixels):
    return np.array([colorsys.rgb_to_hsv(*p) for p in pixels.reshape(-1, 3)])


def test_no_hue_of_the_demo_occurs(module):
    rng = np.random.default_rng(0)
    for name in module.HUES:
        for _ in range(40):
            hues = hsv_of(module.draw_surface(rng, name, 16))[:, 0]
            for other in tiny_shapes.HUES.values():
                assert hue_distance(hues, other).min() > DEMO_SPREAD


def test_hues_do_not_touch_each_other(module):
    hues = list(module.HUES.values())
    for i, one in enumerate(hues):
        for other in hues[:i]:
            assert hue_distance(one, other) > 2 * module.HUE_SPREAD


def test_grounds_never_have_colours_of_the_demos_shapes(module):
    rng = np.random.default_rng(0)
    for kind in module.GROUNDS:
        for _ in range(5):
            ground = module.draw_ground(rng, kind)
            assert ground.shape == (*tiny_shapes.IMAGE_HW, 3)
            pixels = ground.reshape(-1, 3)
            low, high = pixels.min(axis=1), pixels.max(axis=1)
            saturation = (high - low) / np.maximum(high, 0.05)
            assert saturation.max() < DEMO_SATURATION


def bent(image):
    """Part of the pixels that are not on a line with their neighbours."""
    second = np.diff(image[..., 0].astype(np.float64), n=2, axis=1)
    return (np.abs(second) > 1e-3).mean()


def test_no_ground_of_the_demo_occurs(module):
    """Theirs change from pixel to pixel, ours are even between edges."""
    rng = np.random.default_rng(0)
    theirs = [bent(tiny_shapes.ground(rng)) for _ in range(20)]
    ours = {
        kind: np.mean([bent(module.draw_ground(rng, kind)) for _ in range(20)])
        for kind in module.GROUNDS
    }
    assert min(theirs) > 0.85
    assert max(ours.values()) < 0.6, ours
    text = (DEMO / 'pretraining_shapes.py').read_text()
    assert 'smooth_noise' not in text and 'sin(2 * np.pi' not in text


def test_classes_are_those_of_the_config(module):
    name = 'configs/rfdetr/rfdetr_tiny_pretraining-shapes.py'
    cfg = Config.fromfile(DEMO.parent / name)
    assert cfg.metainfo.classes == module.CLASSES
    assert cfg.model.bbox_head.num_classes == len(module.CLASSES) == 36
    assert not set(module.CLASSES) & set(tiny_shapes.CLASSES)


def test_boxes_are_tight_and_inside(module):
    rng = np.random.default_rng(1)
    height, width = tiny_shapes.IMAGE_HW
    for _ in range(20):
        scene = module.draw_scene(rng)
        shown = scene.shown(scene.owners, scene.areas)
        assert shown.min() >= tiny_shapes.MIN_VISIBLE
        for i, ann in enumerate(module.annotations_of(scene, 1)):
            x, y, w, h = ann['bbox']
            assert 0 <= x < x + w <= width and 0 <= y < y + h <= height
            visible = scene.owners == i
            assert visible[y : y + h, x : x + w].sum() == visible.sum()
            assert ann['area'] == visible.sum() > 0
            for edge in (
                visible[y],
                visible[y + h - 1],
                visible[:, x],
                visible[:, x + w - 1],
            ):
                assert edge.any()


def test_the_same_seed_draws_the_same(module, folder, tmp_path):
    again = tmp_path / 'again'
    module.write_pretraining_shapes(again, {'train': 3})
    first, second = read(folder), read(again)
    assert second['images'] == first['images'][:3]
    count = len(second['annotations'])
    assert second['annotations'] == first['annotations'][:count]
    for info in second['images']:
        name = f'images/{info["file_name"]}'
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_the_file_is_complete(module, folder):
    train, val = read(folder), read(folder, 'val')
    assert [len(c['images']) for c in (train, val)] == [30, 4]
    assert train['annotations'][0]['bbox'] != val['annotations'][0]['bbox']
    assert [c['name'] for c in train['categories']] == list(module.CLASSES)
    counts = np.bincount([a['image_id'] for a in train['annotations']])[1:]
    low, high = module.SHAPES_PER_IMAGE
    assert len(counts) == 30 and counts.max() <= high
    assert counts.mean() > low
    with Image.open(folder / 'images/train_00001.jpg') as image:
        assert image.size == tiny_shapes.IMAGE_HW[::-1]
