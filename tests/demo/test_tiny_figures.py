"""What the figures promise, on a few of them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

DEMO = Path(__file__).parents[2] / 'demo'


@pytest.fixture(scope='module')
def figures():
    sys.path.insert(0, str(DEMO))
    try:
        import tiny_figures
    finally:
        sys.path.pop(0)
    return tiny_figures


@pytest.fixture(scope='module')
def content(figures, tmp_path_factory):
    folder = tmp_path_factory.mktemp('figures')
    figures.write_tiny_figures(folder, {'train': 60, 'test': 2})
    return json.loads((folder / 'train.json').read_text())


def points_of(annotation):
    return np.reshape(annotation['keypoints'], (-1, 3))


def test_hidden_keypoints_and_kinds(content, figures):
    points = np.concatenate([points_of(a) for a in content['annotations']])
    assert (points[:, 2] == 1).mean() >= 0.2
    assert (points[:, 2] == 0).mean() < 0.05
    kinds = {a['category_id'] for a in content['annotations']}
    assert kinds == {1, 2}
    assert [c['keypoints'] for c in content['categories']] == [
        list(names) for names in figures.KEYPOINTS.values()
    ]
    for annotation in content['annotations']:
        count = len(points_of(annotation))
        assert count == (5, 4)[annotation['category_id'] - 1]
        _, _, w, h = annotation['bbox']
        assert annotation['area'] == pytest.approx(w * h, abs=0.01)


def test_keypoints_lie_in_their_boxes(content):
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        for px, py, v in points_of(annotation):
            if v:
                assert x - 1 <= px <= x + w and y - 1 <= py <= y + h


def test_left_is_on_the_right_hand_of_who_looks(content):
    """Seen along the figure, upright: the sign of a cross product."""
    seen = 0
    for annotation in content['annotations']:
        points = points_of(annotation)
        if annotation['category_id'] != 2 or (points[:, 2] == 0).any():
            continue
        nose, left, right, tail = points[:, :2]
        up, across = nose - tail, left - right
        assert up[0] * across[1] - up[1] * across[0] > 0
        seen += 1
    assert seen > 10


def test_the_seed_decides(figures):
    first, second, other = (
        figures.draw_image(np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert (first[0] == second[0]).all() and first[1] == second[1]
    assert (first[0] != other[0]).any()


def test_shuffled_sides_keep_places_and_half_of_the_sides(
    content, figures, tmp_path
):
    (tmp_path / 'a.json').write_text(json.dumps(content))
    figures.shuffle_sides(tmp_path / 'a.json', tmp_path / 'b.json')
    shuffled = json.loads((tmp_path / 'b.json').read_text())
    changed = []
    for old, new in zip(content['annotations'], shuffled['annotations']):
        before, after = points_of(old), points_of(new)
        assert sorted(before.tolist()) == sorted(after.tolist())
        assert (before[0] == after[0]).all()  # head or nose
        changed.append((before != after).any())
    assert 0.3 < np.mean(changed) < 0.9
