"""Six kinds of errors: what they are, and what correcting them can do."""

import dataclasses

import numpy as np
import pytest

from rfdetr_mm.evaluation.analysis import Detections, Objects
from rfdetr_mm.evaluation.analysis.average_precision import (
    coco_tables,
    mean_of_known,
)
from rfdetr_mm.evaluation.analysis.error_kinds import KINDS, find_error_kinds
from tests.evaluation.analysis.test_matching import KINDS as WHAT
from tests.evaluation.analysis.test_matching import matches
from tests.scene_factory import make_scene

OBJECT = (10.0, 10.0, 20.0, 20.0)
OTHER = (60.0, 30.0, 20.0, 20.0)


def errors_of(scene):
    return find_error_kinds(*matches(scene))


def drawn(*found, objects=((OBJECT, 0), (OTHER, 1))):
    """A scene of one image with (box, label, score) of detections."""
    boxes = np.array([box for box, _ in objects], float).reshape(-1, 4)
    rows = np.array([box for box, _, _ in found], float).reshape(-1, 4)
    return dataclasses.replace(
        make_scene(),
        objects=Objects(
            np.zeros(len(boxes), int),
            np.array([label for _, label in objects], int),
            boxes,
            boxes[:, 2:].prod(axis=1),
            np.zeros(len(boxes), bool),
        ),
        detections=Detections(
            np.zeros(len(rows), int),
            np.array([label for _, label, _ in found], int),
            rows,
            np.array([score for _, _, score in found], float),
        ),
    )


def shifted(pixels):
    return (OBJECT[0] + pixels, *OBJECT[1:])


@pytest.mark.parametrize(
    ('box', 'label', 'kind'),
    [
        (OBJECT, 0, 'duplicate'),
        (shifted(10), 0, 'location'),  # IoU 1 / 3
        (OBJECT, 1, 'class'),
        (shifted(10), 1, 'both'),
        (shifted(17), 0, 'background'),  # IoU 3 / 37
        ((0.0, 50.0, 5.0, 5.0), 1, 'background'),
    ],
)
def test_each_kind(box, label, kind):
    scene = drawn((OBJECT, 0, 0.9), (OTHER, 1, 0.9), (box, label, 0.5))
    errors = errors_of(scene)
    assert sorted(errors.kind) == sorted(['right', 'right', kind])
    assert errors.counts == {name: int(name == kind) for name in KINDS}
    assert errors.meant[errors.kind == kind].item() == (
        -1 if kind == 'background' else 0
    )
    assert errors.ap50 == pytest.approx(1)


def test_an_object_that_nothing_is_near_is_missed():
    errors = errors_of(drawn((OBJECT, 0, 0.9)))
    assert errors.counts['missed'] == 1
    assert errors.is_missed.tolist() == [False, True]
    assert errors.ap50 == pytest.approx(0.5)
    assert errors.gains['missed'] == pytest.approx(0.5)
    near = drawn((OBJECT, 0, 0.9), (shifted(40), 1, 0.8))
    assert errors_of(near).counts['missed'] == 1
    # With an error of its place it is not missed as well.
    near = drawn((OBJECT, 0, 0.9), ((70.0, 30.0, 20.0, 20.0), 1, 0.8))
    assert errors_of(near).counts == {
        **dict.fromkeys(KINDS, 0),
        'location': 1,
    }


def test_correcting_a_place_or_a_class_finds_the_object():
    for box, label, kind in (
        (shifted(10), 0, 'location'),
        (OBJECT, 1, 'class'),
    ):
        errors = errors_of(drawn((box, label, 0.9), (OTHER, 1, 0.8)))
        assert errors.counts[kind] == 1
        assert errors.ap50 + errors.gains[kind] == pytest.approx(1)


def test_of_two_corrected_ones_the_better_stays():
    scene = drawn(
        (shifted(10), 0, 0.9), (shifted(-10), 0, 0.8), (OTHER, 1, 0.7)
    )
    errors = errors_of(scene)
    assert errors.counts['location'] == 2
    assert errors.ap50 + errors.gains['location'] == pytest.approx(1)


@pytest.mark.parametrize('kind', WHAT)
@pytest.mark.parametrize('seed', range(6))
def test_corrections_never_lower_ap(kind, seed):
    errors = errors_of(make_scene(seed, kind))
    for name, gain in errors.gains.items():
        assert -1e-12 <= gain <= 1 - errors.ap50 + 1e-12, name
    assert sum(errors.counts.values()) > 20
    # Removing every false one does at least what removing a kind does.
    for name in ('both', 'duplicate', 'background'):
        assert errors.gains[name] <= errors.gain_without_false + 1e-12
    assert errors.gains['missed'] <= errors.gain_without_missed + 1e-12
    # Without false ones and without unfound objects nothing is wrong.
    assert errors.gain_without_false >= 0 <= errors.gain_without_missed


@pytest.mark.parametrize('kind', WHAT)
def test_ap_is_that_of_the_tables(kind):
    pytest.importorskip('vernier', reason='vernier is not installed')
    scene, pairs, matched = matches(make_scene(7, kind))
    ap50 = mean_of_known(coco_tables(scene)[0][0, :, :, 0])
    found = find_error_kinds(scene, pairs, matched).ap50
    assert found == pytest.approx(ap50, abs=1e-12)
    assert 0.05 < ap50 < 0.95


@pytest.mark.parametrize('seed', range(3))
def test_every_wrong_detection_has_one_kind(seed):
    scene, pairs, matched = matches(make_scene(seed))
    errors = find_error_kinds(scene, pairs, matched)
    ignored = (matched >= 0) & scene.is_ignored[matched]
    assert set(errors.kind) <= {'right', 'ignored', *KINDS}
    np.testing.assert_array_equal(
        errors.kind == 'right', (matched >= 0) & ~ignored
    )
    np.testing.assert_array_equal(errors.kind == 'ignored', ignored)
    assert ignored.any()


def test_without_errors_nothing_is_gained():
    scene = make_scene()
    perfect = dataclasses.replace(
        scene,
        detections=Detections(
            scene.objects.image,
            scene.objects.label,
            scene.objects.boxes_xywh_px,
            np.ones(len(scene.objects)),
        ),
    )
    errors = errors_of(perfect)
    assert errors.ap50 == pytest.approx(1)
    assert [*errors.gains.values()] == pytest.approx([0] * 6)


def test_nothing_found_and_nothing_there():
    assert errors_of(drawn()).gains['missed'] == 1
    empty = errors_of(drawn((OBJECT, 0, 0.9), objects=()))
    assert empty.ap50 == -1
    assert empty.counts['background'] == 1
