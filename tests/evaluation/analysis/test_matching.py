"""The same matches as pycocotools' own loops."""

import dataclasses

import numpy as np
import pytest

from rfdetr_mm.evaluation.analysis import Detections, Objects
from rfdetr_mm.evaluation.analysis.matching import find_pairs, match_by_class
from tests.scene_factory import make_scene, pycocotools_evaluation

KINDS = ('bbox', 'segm', 'keypoints')


def matches(scene):
    scene = dataclasses.replace(
        scene, detections=scene.detections.best(scene.maximum)
    )
    pairs = find_pairs(scene)
    return scene, pairs, match_by_class(scene, pairs)


def expected(scene):
    """(image, class, score) to the objects of its detections, in order."""
    evaluation = pycocotools_evaluation(scene)
    found = {}
    for one in evaluation.evalImgs:
        if one is None or one['aRng'] != evaluation.params.areaRng[0]:
            continue
        key = (one['image_id'], one['category_id'] - 1)
        found[key] = one['dtMatches'][0].astype(int) - 1
    return found


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('seed', range(4))
def test_matches_are_those_of_pycocotools(kind, seed):
    scene, _, matched = matches(make_scene(seed, kind))
    truth = expected(scene)
    assert (matched >= 0).sum() > 10
    for image, label in {*zip(scene.detections.image, scene.detections.label)}:
        at = scene.detections.image == image
        at &= scene.detections.label == label
        key = (scene.image_ids[image], label)
        np.testing.assert_array_equal(matched[at], truth[key])


@pytest.mark.parametrize('kind', KINDS)
def test_overlaps_are_those_of_pycocotools(kind):
    scene, pairs, _ = matches(make_scene(5, kind))
    evaluation = pycocotools_evaluation(scene)
    seen = 0
    for image in range(len(scene.image_ids)):
        for label in range(len(scene.classes)):
            table = evaluation.ious[scene.image_ids[image], label + 1]
            if not len(table):
                continue
            found, objects = scene.detections, scene.objects
            rows = np.flatnonzero(
                (found.image == image) & (found.label == label)
            )
            its = (objects.image == image) & (objects.label == label)
            ours = np.zeros((len(rows), its.sum()))
            for d, o, overlap in zip(
                pairs.detection, pairs.object, pairs.overlap
            ):
                if d in rows and its[o]:
                    ours[np.searchsorted(rows, d), its[:o].sum()] = overlap
            table = np.where(np.asarray(table) >= 0.1, table, 0)
            np.testing.assert_allclose(ours, table, rtol=1e-12, atol=0)
            seen += table.any()
    assert seen > 5


def test_a_crowd_takes_many_and_an_object_one():
    boxes = np.array([[0, 0, 10, 10], [40, 0, 20, 10]], float)
    objects = Objects(
        np.zeros(2, int),
        np.zeros(2, int),
        boxes,
        boxes[:, 2:].prod(axis=1),
        np.array([False, True]),
    )
    found = Detections(
        np.zeros(4, int), np.zeros(4, int), boxes[[0, 0, 1, 1]], np.ones(4)
    )
    scene = dataclasses.replace(
        make_scene(), objects=objects, detections=found
    )
    _, _, matched = matches(scene)
    assert matched.tolist() == [0, -1, 1, 1]


def test_an_overlap_on_the_threshold_matches():
    boxes = np.array([[0, 0, 10, 10]], float)
    objects = Objects(
        np.zeros(1, int),
        np.zeros(1, int),
        boxes,
        boxes[:, 2:].prod(axis=1),
        np.zeros(1, bool),
    )
    for width, result in ((5.0, [0]), (4.99, [-1])):
        found = Detections(
            np.zeros(1, int),
            np.zeros(1, int),
            np.array([[0, 0, width, 10]]),
            np.ones(1),
        )
        scene = dataclasses.replace(
            make_scene(), objects=objects, detections=found
        )
        assert matches(scene)[2].tolist() == result


@pytest.mark.parametrize('kind', KINDS)
def test_nothing_is_found(kind):
    scene = make_scene(0, kind)
    none = dataclasses.replace(
        scene, detections=scene.detections.taken(np.zeros(0, int))
    )
    _, pairs, matched = matches(none)
    assert len(pairs.overlap) == len(matched) == 0


def test_many_pairs_are_computed_in_parts(monkeypatch):
    scene, pairs, _ = matches(make_scene(1))
    monkeypatch.setattr('rfdetr_mm.evaluation.analysis.matching._MAX_PAIRS', 7)
    again = find_pairs(scene)
    for one, other in zip(
        dataclasses.astuple(pairs), dataclasses.astuple(again)
    ):
        np.testing.assert_array_equal(one, other)
