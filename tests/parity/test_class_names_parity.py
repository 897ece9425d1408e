"""Class names of random category trees, beside rfdetr 1.11.2."""

import random

import pytest

coco = pytest.importorskip('rfdetr.datasets.coco')

from rfdetr_mm.datasets import CocoFile, class_names  # noqa: E402

pytestmark = pytest.mark.parity


def random_tree(seed: int, are_names_unique: bool):
    """Categories in any order, some with boxes, parents at random."""
    draw = random.Random(seed)
    names = [f'c{i}' for i in range(draw.randint(1, 6))]
    parents = [*names, '', 'none', 'null', None, 'no category']
    ids = draw.sample(range(20), len(names))
    if not are_names_unique:
        names = [draw.choice(names) for _ in names]
    categories = []
    for id_, name in zip(ids, names):
        category = dict(id=id_, name=name)
        if draw.random() < 0.8:
            category['supercategory'] = draw.choice(parents)
        categories.append(category)
    used = set(draw.sample(ids, draw.randint(0, len(ids))))
    return categories, used


def names_of_both(categories, used):
    annotations = tuple(dict(category_id=id_) for id_ in used)
    ours = class_names(CocoFile('', (), annotations, tuple(categories)))
    theirs = coco.filter_parent_categories(categories, used)
    return ours, theirs


def test_names_are_upstreams():
    num_dropped = 0
    for seed in range(500):
        categories, used = random_tree(seed, are_names_unique=True)
        ours, theirs = names_of_both(categories, used)
        assert ours == tuple(c['name'] for c in theirs), (seed, categories)
        num_dropped += len(theirs) < len(categories)
    assert 100 < num_dropped < 400  # both cases are among them


def test_repeated_names_are_upstreams_once():
    num_repeated = 0
    for seed in range(500):
        categories, used = random_tree(seed, are_names_unique=False)
        ours, theirs = names_of_both(categories, used)
        names = [category['name'] for category in theirs]
        num_repeated += len(set(names)) < len(names)
        assert set(ours) == set(names)
        assert len(set(ours)) == len(ours)
    assert num_repeated > 100
