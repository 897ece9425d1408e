"""The table of classes adds up, and its diagonal is that of pycocotools."""

import numpy as np
import pytest

from rfdetr_mm.evaluation.analysis.confusion import confusion_matrix
from tests.evaluation.analysis.test_error_kinds import OBJECT, OTHER, drawn
from tests.evaluation.analysis.test_matching import KINDS, expected, matches
from tests.scene_factory import make_scene


def table(scene, threshold):
    return confusion_matrix(*matches(scene), threshold)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('threshold', [0, 0.5, 0.9])
def test_it_adds_up(kind, threshold):
    scene, pairs, matched = matches(make_scene(4, kind))
    found = confusion_matrix(scene, pairs, matched, threshold)
    num = np.bincount(scene.objects.label[~scene.is_ignored], minlength=3)
    np.testing.assert_array_equal(found[:-1].sum(axis=1), num)
    is_shown = scene.detections.score >= threshold
    on_ignored = (matched >= 0) & scene.is_ignored[matched]
    num = np.bincount(
        scene.detections.label[is_shown & ~on_ignored], minlength=3
    )
    np.testing.assert_array_equal(found[:, :-1].sum(axis=0), num)
    assert found[-1, -1] == 0
    assert kind == 'keypoints' or on_ignored.any()


def test_the_diagonal_holds_the_true_positives_of_pycocotools():
    scene, _, _ = matches(make_scene(4))
    counts = np.zeros(3, int)
    for (image, label), its in expected(scene).items():
        at = scene.detections.image == scene.image_ids.index(image)
        scores = scene.detections.score[at & (scene.detections.label == label)]
        its = its[scores >= 0.5]
        counts[label] += (~scene.is_ignored[its[its >= 0]]).sum()
    found = table(scene, 0.5)
    np.testing.assert_array_equal(np.diag(found)[:-1], counts)
    assert counts.sum() > 5


def test_each_place():
    found = table(
        drawn((OBJECT, 0, 0.9), (OTHER, 0, 0.8), ((0, 50, 5, 5), 1, 0.7)), 0.5
    )
    expected_table = np.zeros((4, 4), int)
    expected_table[0, 0] = 1
    expected_table[1, 0] = 1  # taken for another class
    expected_table[3, 1] = 1  # on the background
    np.testing.assert_array_equal(found, expected_table)
    missed = table(drawn((OBJECT, 0, 0.4)), 0.5)
    assert missed[0, 3] == missed[1, 3] == missed.sum() - 1 == 1


def test_the_own_class_comes_first():
    """A better detection of another class does not take the object away."""
    found = table(drawn((OBJECT, 1, 0.9), (OBJECT, 0, 0.6)), 0.5)
    assert found[0, 0] == 1
    assert found[3, 1] == 1
