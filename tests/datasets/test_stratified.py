"""Properties of the parts, on drawn numbers of objects."""

import random
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rfdetr_mm.datasets.stratified import divide
from rfdetr_mm.errors import InputError

SHARES = st.sampled_from(
    [(0.8, 0.1, 0.1), (0.5, 0.5), (0.7, 0.2, 0.1), (1 / 3, 1 / 3, 1 / 3)]
)
COUNTS = st.dictionaries(st.integers(0, 4), st.integers(1, 9), max_size=3)
GROUPS = st.lists(
    st.tuples(COUNTS, st.integers(1, 4)), min_size=3, max_size=60
)
MANY_GROUPS = st.lists(
    st.tuples(COUNTS, st.integers(1, 4)), min_size=30, max_size=90
)
SEEDS = st.integers(0, 2**31)
DERANDOMIZED = settings(derandomize=True, max_examples=150, deadline=None)


def per_part(objects, parts, num_parts):
    totals = [Counter() for _ in range(num_parts)]
    for counts, part in zip(objects, parts):
        totals[part].update(counts)
    return totals


@DERANDOMIZED
@given(GROUPS, SHARES, SEEDS)
def test_every_group_has_a_part_and_every_part_objects(groups, shares, seed):
    objects, images = zip(*groups)
    assume(sum(map(bool, objects)) >= len(shares))
    parts = divide(objects, images, shares, seed)
    assert len(parts) == len(groups)
    totals = per_part(objects, parts, len(shares))
    assert all(total.total() for total in totals)
    assert divide(objects, images, shares, seed) == parts


@DERANDOMIZED
@given(MANY_GROUPS, SHARES, SEEDS)
def test_the_rarest_class_is_within_its_bound(groups, shares, seed):
    objects, images = zip(*groups)
    sums = sum((Counter(o) for o in objects), Counter())
    assume(sum(map(bool, objects)) >= len(shares))
    parts = divide(objects, images, shares, seed)
    rarest = min(sums, key=lambda name: (sums[name], str(name)))
    check_bound(objects, parts, shares, sums, [rarest])


@DERANDOMIZED
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 9)),
        min_size=30,
        max_size=90,
    ),
    SHARES,
    SEEDS,
)
def test_classes_that_share_no_group_are_within_their_bounds(
    drawn, shares, seed
):
    objects = [{name: number} for name, number in drawn]
    sums = sum((Counter(o) for o in objects), Counter())
    parts = divide(objects, [1] * len(objects), shares, seed)
    check_bound(objects, parts, shares, sums, list(sums))


def check_bound(objects, parts, shares, sums, names):
    totals = per_part(objects, parts, len(shares))
    for name in names:
        most = max(counts.get(name, 0) for counts in objects)
        for total, share in zip(totals, shares):
            bound = (len(shares) - 1) * most
            # One group may have gone to a part that was empty.
            assert abs(total[name] - share * sums[name]) < bound + most


def test_many_classes_in_an_image_as_in_photographs():
    """What is not proved: drawn images with one to six of twelve classes."""
    rng = random.Random(0)
    objects = []
    for _ in range(2000):
        names = rng.choices(range(12), [2**-i for i in range(12)], k=6)
        objects.append(Counter(names))
    parts = divide(objects, [1] * 2000, (0.8, 0.1, 0.1), 0)
    sums = sum(objects, Counter())
    for total, share in zip(per_part(objects, parts, 3), (0.8, 0.1, 0.1)):
        for name, number in sums.items():
            assert abs(total[name] - share * number) < max(12, 0.002 * number)
    images = Counter(parts)
    for part, wanted in enumerate((1600, 200, 200)):
        assert abs(images[part] - wanted) < 40


def test_images_without_objects_fill_up():
    objects = [{0: 1}] * 10 + [{}] * 90
    parts = divide(objects, [1] * 100, (0.5, 0.5), 0)
    assert Counter(parts) == {0: 50, 1: 50}
    assert Counter(parts[:10]) == {0: 5, 1: 5}


def test_a_seed_chooses_among_equals():
    objects = [{0: 1}] * 30
    chosen = {
        tuple(divide(objects, [1] * 30, (0.5, 0.5), seed)) for seed in range(5)
    }
    assert len(chosen) == 5


@pytest.mark.parametrize(
    'shares, arithmetic',
    [
        ((0.8, 0.1), r'0.8 \+ 0.1 = 0.9'),
        ((0.8, 0.3, -0.1), r'0.8 \+ 0.3 \+ -0.1 = 1'),
        ((1.0,), '= 1'),
        ((float('nan'), 1.0), 'nan'),
        ((1.0, 0.0), r'1 \+ 0'),
    ],
)
def test_shares_that_are_none(shares, arithmetic):
    with pytest.raises(InputError, match=f'sum is 1, but are .*{arithmetic}'):
        divide([{0: 1}] * 9, [1] * 9, shares, 0)


def test_too_few_groups():
    with pytest.raises(InputError, match='3 parts need .* there are 2 .of 8'):
        divide([{0: 3}] * 2 + [{}] * 6, [1] * 8, (0.8, 0.1, 0.1), 0)
