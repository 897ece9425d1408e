"""Painted pictures: colours that differ, labels that hide nothing."""

import numpy as np
import pytest
from PIL import Image

from rfdetr_runtime.painting import (
    COLOURS,
    HIDDEN,
    colour_of,
    ink_on,
    paint_objects,
    with_heading,
    with_note,
)


def lab(colour):
    """CIE L*a*b* of an sRGB colour, white of D65."""
    rgb = np.array(colour) / 255
    rgb = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [
        [0.4124, 0.3576, 0.1805],
        [0.2126, 0.7152, 0.0722],
        [0.0193, 0.1192, 0.9505],
    ]
    xyz = np.array(to_xyz) @ rgb / (0.9505, 1.0, 1.089)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(
    ('number', 'least'), [(4, 75), (8, 40), (len(COLOURS), 34)]
)
def test_colours_are_far_apart(number, least):
    points = [lab(colour_of(label)) for label in range(number)]
    apart = [
        np.linalg.norm(a - b) for i, a in enumerate(points) for b in points[:i]
    ]
    assert min(apart) >= least


def test_mmdets_colours_of_two_cells_are_not():
    """The negative control: the first two of COCO's."""
    red, dark = lab((220, 20, 60)), lab((119, 11, 32))
    assert np.linalg.norm(red - dark) < 40


def test_further_classes_have_colours_too():
    colours = {colour_of(label) for label in range(200)}
    assert len(colours) > 150
    assert all(0 <= c <= 255 for colour in colours for c in colour)
    assert ink_on((255, 212, 0)) == 'black' and ink_on((0, 0, 90)) == 'white'


def scene(seed, number, hw):
    rng = np.random.default_rng(seed)
    low = rng.random((number, 2)) * (hw[1], hw[0])
    sizes = rng.choice([5, 20, 60], (number, 1)) * rng.uniform(
        0.7, 1.4, (number, 2)
    )
    boxes = np.hstack([low, low + sizes]) - sizes.max() / 4
    return boxes, rng.integers(0, 30, number).tolist()


def hidden_parts(boxes, labels, hw, **options):
    """Part of each box that labels hide, and whether there are labels."""
    grey = np.full((*hw, 3), 90, np.uint8)
    texts = [f'class {label}: 87.{label}' for label in labels]
    bare = paint_objects(grey, boxes, labels, [''] * len(labels), **options)
    full = paint_objects(grey, boxes, labels, texts, **options)
    changed = (bare != full).any(axis=2)
    parts = []
    for x1, y1, x2, y2 in boxes:
        part = changed[
            max(0, int(np.ceil(y1))) : max(0, int(y2)),
            max(0, int(np.ceil(x1))) : max(0, int(x2)),
        ]
        parts.append(part.sum() / max((x2 - x1) * (y2 - y1), 1))
    return parts, changed


@pytest.mark.parametrize('hw', [(240, 320), (90, 60), (30, 400)])
@pytest.mark.parametrize('number', [1, 9, 80])
@pytest.mark.parametrize('seed', [0, 1])
def test_labels_hide_little_of_any_box(hw, number, seed):
    parts, _ = hidden_parts(*scene(seed, number, hw), hw)
    assert max(parts) <= HIDDEN + 1e-6


@pytest.mark.parametrize(
    'box',
    [
        (0, 0, 30, 20),
        (285, 0, 320, 40),
        (0, 200, 40, 240),
        (290, 215, 320, 240),
        (-20, -20, 340, 260),
        (100, 100, 104, 104),
        (100, 100, 100, 100),
    ],
    ids=str,
)
def test_a_single_label_is_always_written_inside(box):
    parts, changed = hidden_parts(np.array([box]), [3], (240, 320))
    rows, columns = changed.nonzero()
    height = rows.max() - rows.min() + 1
    assert 8 <= height <= 20  # all of it, not cut
    assert columns.max() - columns.min() > 40
    assert parts[0] <= HIDDEN


def test_nothing_to_paint_and_pictures_that_are_too_small():
    grey = np.full((40, 60, 3), 90, np.uint8)
    none = paint_objects(grey, np.zeros((0, 4)), [], [], np.zeros((0, 40, 60)))
    assert (none == grey).all()
    tiny = np.full((4, 6, 3), 90, np.uint8)
    painted = paint_objects(tiny, [[0, 0, 3, 3]], [0], ['a long name: 99.9'])
    assert painted.shape == tiny.shape and (painted != tiny).any()


def test_masks_are_tinted_with_edges():
    grey = np.full((40, 60, 3), 90, np.uint8)
    mask = np.zeros((1, 40, 60), bool)
    mask[0, 10:30, 20:40] = True
    painted = paint_objects(grey, [[20, 10, 40, 30]], [1], [''], mask)
    assert (painted[0] == 90).all() and (grey == 90).all()
    assert (painted[15, 38] != 90).any()
    own = paint_objects(grey, [[0, 0, 1, 1]], [0], [''], mask, [(9, 8, 7)])
    assert own[10, 20].tolist() == [9, 8, 7]
    inside = own[20, 30].tolist()
    assert inside != [9, 8, 7] and inside != [90] * 3


def test_headings_and_notes():
    grey = np.full((120, 200, 3), 90, np.uint8)
    headed = with_heading(grey, 'truth', 'a' * 300 + '.jpg')
    assert headed.shape == (136, 200, 3) and (headed[16:] == 90).all()
    assert (headed[:16].min(axis=2) < 100).any()
    assert (headed[:16, -3:] == 255).all()
    noted = with_note(grey, 'no detection above 0.3')
    assert noted.shape == grey.shape and (noted[60:] == 90).all()
    assert (noted[:15, :100] != 90).any()
    assert Image.fromarray(headed).mode == 'RGB'
