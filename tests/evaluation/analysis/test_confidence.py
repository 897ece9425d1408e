"""F1 by threshold as rfdetr has it, and calibration."""

import dataclasses

import numpy as np
import pytest

from rfdetr_mm.evaluation.analysis.confidence import (
    calibrate,
    sweep_thresholds,
)
from tests.evaluation.analysis.test_matching import matches
from tests.scene_factory import make_scene


def columns(scene):
    scene, _, matched = matches(scene)
    ignored = (matched >= 0) & scene.is_ignored[matched]
    found = scene.detections
    num = np.bincount(
        scene.objects.label[~scene.is_ignored],
        minlength=len(scene.classes),
    )
    return (
        found.label[~ignored],
        found.score[~ignored],
        matched[~ignored] >= 0,
        num,
    )


def upstream_sweep(scene):
    """rfdetr's own matching and sweep."""
    import torch
    from rfdetr.evaluation.f1_sweep import sweep_confidence_thresholds
    from rfdetr.evaluation.matching import build_matching_data

    sides = [], []
    for image in range(len(scene.image_ids)):
        for side, made in zip((scene.detections, scene.objects), sides):
            at = side.image == image
            boxes = torch.from_numpy(side.boxes_xywh_px[at].copy())
            boxes[:, 2:] += boxes[:, :2]
            one = dict(boxes=boxes, labels=torch.from_numpy(side.label[at]))
            if side is scene.detections:
                one['scores'] = torch.from_numpy(side.score[at])
            else:
                one['iscrowd'] = torch.from_numpy(side.is_crowd[at]).long()
            made.append(one)
    data = build_matching_data(*sides)
    empty = dict(
        scores=np.zeros(0),
        matches=np.zeros(0, int),
        ignore=np.zeros(0, bool),
        total_gt=0,
    )
    of_classes = [data.get(i, empty) for i in range(len(scene.classes))]
    present = [i for i, one in enumerate(of_classes) if one['total_gt']]
    return sweep_confidence_thresholds(
        of_classes, np.linspace(0, 1, 101), present
    )


@pytest.mark.parametrize('seed', range(3))
def test_the_sweep_is_rfdetrs(seed):
    pytest.importorskip('rfdetr', reason='rfdetr is not installed')
    scene = make_scene(seed)
    scene = dataclasses.replace(  # one rule for crowds is another
        scene,
        objects=dataclasses.replace(
            scene.objects, is_crowd=np.zeros(len(scene.objects), bool)
        ),
        detections=dataclasses.replace(
            scene.detections,
            # Both sides compare the numbers that rfdetr keeps.
            score=scene.detections.score.astype(np.float32).astype(float),
        ),
    )
    ours, theirs = sweep_thresholds(*columns(scene)), upstream_sweep(scene)
    for name in ('precision', 'recall', 'f1'):
        expected = [one[f'macro_{name}'] for one in theirs]
        np.testing.assert_allclose(ours.mean(name), expected, atol=1e-12)
    best = max(theirs, key=lambda one: one['macro_f1'])
    assert ours.best()['threshold'] == best['confidence_threshold']
    assert ours.best()['f1'] == pytest.approx(best['macro_f1'], abs=1e-12)
    assert 0.2 < ours.best()['f1'] < 1
    # A class without objects is in no mean: with it, they would differ.
    assert not ours.has_objects.all()
    assert not np.allclose(
        ours.f1.mean(axis=0), [one['macro_f1'] for one in theirs]
    )


def test_scores_on_a_threshold_count():
    one = np.array([0])
    sweep = sweep_thresholds(one, np.array([0.29]), one == 0, np.array([1]))
    assert sweep.recall[0, :30].all()
    assert not sweep.recall[0, 30:].any()


def test_each_class_has_its_own_threshold():
    sweep = sweep_thresholds(
        np.array([0, 0, 1, 1]),
        np.array([0.9, 0.5, 0.4, 0.3]),
        np.array([True, False, True, False]),
        np.array([1, 1]),
    )
    thresholds = [one['threshold'] for one in sweep.best_of_classes()]
    assert thresholds == pytest.approx([0.51, 0.31])
    assert sweep.best()['f1'] == pytest.approx((2 / 3 + 1) / 2)


def test_nothing_there():
    none = np.zeros(0, int)
    sweep = sweep_thresholds(none, none / 1, none > 0, np.array([0, 0]))
    assert sweep.best() == dict(threshold=0, precision=0, recall=0, f1=0)
    assert calibrate(none / 1, none > 0)['ece'] is None


def test_calibration_of_honest_and_of_boastful_scores():
    rng = np.random.default_rng(0)
    score = rng.uniform(0.05, 1, 200_000)
    honest = calibrate(score, rng.random(len(score)) < score)
    assert honest['ece'] < 0.005
    boastful = calibrate(score, rng.random(len(score)) < score - 0.05)
    assert boastful['ece'] == pytest.approx(0.05, abs=0.005)
    assert sum(one['count'] for one in honest['bins']) == len(score)


def test_the_error_is_that_of_vernier():
    """The same bins, and the same cut of low scores."""
    vernier = pytest.importorskip('vernier', reason='vernier is not there')
    from rfdetr_mm.evaluation.vernier_grid import import_vernier

    import_vernier()
    scene = make_scene(3, num_images=40)
    found, objects = matches(scene)[0].detections, scene.objects
    counts = dict(minlength=len(scene.image_ids))
    inputs = vernier.adapters.coco_inputs_from_columns(
        dict(
            boxes=found.boxes_xywh_px,
            labels=found.label,
            scores=found.score,
            counts=np.bincount(found.image, **counts),
        ),
        dict(
            boxes=objects.boxes_xywh_px,
            labels=objects.label,
            iscrowd=objects.is_crowd,
            area=objects.area,
            counts=np.bincount(objects.image, **counts),
        ),
        categories=range(3),
    )
    grid = vernier.instance.evaluate_bbox_grid(
        *inputs,
        parity_mode='corrected',
        max_dets_per_image=100,
        use_cats=True,
        retain_meta=True,
    )
    cells = vernier._core.cells_from_grid(grid)
    ece = cells.calibrate(
        0, 10, 'equal_width', 0.05, 'wilson', False, 'micro'
    )[0]
    _, score, is_true, _ = columns(scene)
    assert calibrate(score, is_true)['ece'] == pytest.approx(ece, abs=1e-9)
