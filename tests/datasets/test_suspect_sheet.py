import numpy as np
import pytest
from PIL import Image

from rfdetr_mm.datasets.findings import Suspect
from rfdetr_mm.datasets.suspect_sheet import (
    CAPTION,
    GAP,
    TILE,
    choose,
    draw_suspects,
)


@pytest.fixture
def path(tmp_path):
    """A blue picture, higher than wide."""
    file = tmp_path / 'blue.png'
    Image.new('RGB', (40, 90), (0, 0, 255)).save(file)
    return str(file)


def tile_of(*suspects):
    pixels = np.asarray(draw_suspects(suspects)).astype(int)
    return pixels[GAP : GAP + TILE, GAP : GAP + TILE]


def has_colour(pixels, colour):
    return bool((abs(pixels - colour).max(axis=-1) < 3).any())


BLUE, GREY, RED = (0, 0, 255), (176, 176, 176), (255, 46, 99)


def test_a_whole_picture_has_its_shape(path):
    pixels = tile_of(Suspect(path, 'why'))
    blue = abs(pixels - BLUE).max(axis=-1) < 3
    assert blue.any(axis=1).sum() == TILE
    assert blue.any(axis=0).sum() == pytest.approx(TILE * 40 / 90, abs=2)
    assert not has_colour(pixels, RED)


def test_a_box_is_shown_where_it_is(path):
    pixels = tile_of(Suspect(path, 'why', ((5.0, 50.0, 25.0, 70.0),)))
    red = abs(pixels - RED).max(axis=-1) < 3
    rows, columns = np.nonzero(red)
    # The middle of the box is the middle of what is shown.
    assert (rows.min() + rows.max()) / 2 == pytest.approx(TILE / 2, abs=3)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(
        TILE / 2, abs=3
    )
    assert has_colour(pixels, BLUE) and has_colour(pixels, GREY)


@pytest.mark.parametrize(
    'box',
    [
        (50.0, 10.0, 60.0, 20.0),  # beside the picture
        (1e7, 1e7, 2e7, 2e7),  # far away
        (5.0, 5.0, 5.0, 9.0),  # without area
        (30.0, 30.0, 10.0, 10.0),  # the wrong way round
    ],
)
def test_boxes_of_all_kinds(path, box):
    assert has_colour(tile_of(Suspect(path, 'why', (box,))), BLUE)


def test_a_picture_that_cannot_be_read(tmp_path):
    (tmp_path / 'x.png').touch()
    for name in ('x.png', 'nowhere.png'):
        assert has_colour(tile_of(Suspect(str(tmp_path / name), 'x')), GREY)


def test_the_grid(path):
    assert draw_suspects([Suspect(path, 'x')] * 8).size == (
        6 * (TILE + GAP) + GAP,
        2 * (TILE + CAPTION + GAP) + GAP,
    )


def test_some_of_every_reason_are_taken():
    many = [Suspect(str(i), f'tiny, {i} px') for i in range(100)]
    few = [Suspect(str(i), 'turned') for i in range(3)]
    chosen = choose(many + few, 10)
    assert len(chosen) == 10
    assert [s.reason for s in chosen].count('turned') == 3
    # Those of a reason stand together.
    assert [s.reason for s in chosen][-3:] == ['turned'] * 3
