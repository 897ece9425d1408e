"""COCO's tables, compared with pycocotools on the same input."""

import dataclasses

import numpy as np
import pytest

from rfdetr_mm.evaluation.analysis.average_precision import (
    by_class_and_score,
    coco_tables,
    precisions,
)
from tests.evaluation.analysis.test_matching import KINDS, matches
from tests.scene_factory import make_scene, pycocotools_evaluation

pytest.importorskip('vernier', reason='vernier is not installed')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('seed', range(3))
def test_tables_are_those_of_pycocotools(kind, seed):
    scene, _, _ = matches(make_scene(seed, kind))
    precision, recall = coco_tables(scene)
    evaluation = pycocotools_evaluation(scene)
    areas = [0, 2, 3] if kind == 'keypoints' else [0, 1, 2, 3]
    truth = evaluation.eval['precision'][..., -1]
    np.testing.assert_allclose(precision[..., areas], truth, atol=1e-12)
    truth = evaluation.eval['recall'][..., -1]
    np.testing.assert_allclose(recall[..., areas], truth, atol=1e-12)
    assert (precision[..., :2, 0] > 0).any()
    assert (precision[..., 2, :] == -1).all()  # a class without objects


def test_other_scores_give_other_tables():
    """A negative control: the comparison above can fail."""
    scene, _, _ = matches(make_scene())
    found = scene.detections
    other = dataclasses.replace(
        scene,
        detections=dataclasses.replace(found, score=1 - found.score),
    )
    assert not np.allclose(
        coco_tables(scene)[0],
        pycocotools_evaluation(other).eval['precision'][..., -1],
    )


@pytest.mark.parametrize('maximum', [1, 3, 300])
def test_the_number_of_detections_that_count(maximum):
    scene = dataclasses.replace(
        make_scene(2, num_found=40), max_detections=maximum
    )
    limited, _, _ = matches(scene)
    evaluation = pycocotools_evaluation(scene, maxDets=[maximum])
    np.testing.assert_allclose(
        coco_tables(limited)[0],
        evaluation.eval['precision'][..., -1],
        atol=1e-12,
    )


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('seed', range(3))
def test_precision_after_matching_is_that_of_the_tables(kind, seed):
    scene, _, matched = matches(make_scene(seed, kind))
    ignored = (matched >= 0) & scene.is_ignored[matched]
    found = scene.detections.taken(~ignored)
    is_true = matched[~ignored] >= 0
    num = np.bincount(scene.objects.label[~scene.is_ignored], minlength=3)
    order = by_class_and_score(found.label, found.score)
    ours = precisions(found.label[order], is_true[order], num)
    truth = coco_tables(scene)[0][0, :, :, 0].mean(axis=0)
    np.testing.assert_allclose(ours, truth, atol=1e-12)
