"""All numbers together: plain, complete, and of the right detections."""

import dataclasses
import json

import numpy as np
import pytest

from rfdetr_mm.evaluation.analysis import analyse
from tests.evaluation.analysis.test_matching import KINDS
from tests.scene_factory import make_scene, pycocotools_evaluation

pytest.importorskip('vernier', reason='vernier is not installed')


@pytest.mark.parametrize('kind', KINDS)
def test_the_overall_numbers_are_those_of_pycocotools(kind):
    scene = make_scene(1, kind)
    numbers = analyse(scene).numbers
    evaluation = pycocotools_evaluation(scene)
    evaluation.summarize()
    names = ['AP', 'AP50', 'AP75', 'AP_small', 'AP_medium', 'AP_large']
    if kind == 'keypoints':
        names.remove('AP_small')
    for name, value in zip(names, evaluation.stats):
        assert numbers['overall'][name] == pytest.approx(value, abs=1e-12)
    at = 5 if kind == 'keypoints' else 8
    assert numbers['overall']['AR'] == pytest.approx(evaluation.stats[at])
    assert 0 < numbers['overall']['AP'] < 1


@pytest.mark.parametrize('kind', KINDS)
def test_it_is_plain_and_complete(kind):
    scene = make_scene(2, kind)
    numbers = analyse(scene).numbers
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert numbers['num_images'] == len(scene.image_ids)
    assert numbers['num_objects'] == (~scene.is_ignored).sum()
    assert [one['class'] for one in numbers['of_classes']] == [*scene.classes]
    mean = np.mean([one['AP'] for one in numbers['of_classes'][:2]])
    assert numbers['overall']['AP'] == pytest.approx(mean)
    assert numbers['of_classes'][2]['AP'] == -1
    curve = numbers['precision_recall']['precision']['0.50']
    assert np.mean(curve) == pytest.approx(numbers['overall']['AP50'])
    curve = numbers['precision_recall']['precision']['0.50:0.95']
    assert np.mean(curve) == pytest.approx(numbers['overall']['AP'])
    at = numbers['f1']['thresholds'].index(numbers['best']['threshold'])
    assert numbers['f1']['f1'][at] == numbers['best']['f1']
    assert max(numbers['f1']['f1']) == numbers['best']['f1']
    spread = numbers['spread']
    assert sum(spread['sides_px']['objects']) == numbers['num_objects']
    assert sum(spread['per_image']['objects']) == numbers['num_images']


def test_the_order_of_the_detections_does_not_matter():
    scene = make_scene(3)
    rng = np.random.default_rng(0)
    found = scene.detections
    score = rng.permutation(len(found)) / len(found)  # no equal ones
    found = dataclasses.replace(found, score=score)
    one = analyse(dataclasses.replace(scene, detections=found)).numbers
    mixed = found.taken(rng.permutation(len(found)))
    other = analyse(dataclasses.replace(scene, detections=mixed)).numbers
    for numbers in (one, other):
        for group in numbers['examples'].values():
            for fact in group:
                del fact['row']
    assert one == other


def test_what_is_not_finite_counts_nowhere():
    scene = make_scene(4)
    found = scene.detections
    boxes, score = found.boxes_xywh_px.copy(), found.score.copy()
    boxes[:30] = np.nan
    score[30:40] = np.inf
    broken = analyse(
        dataclasses.replace(
            scene,
            detections=dataclasses.replace(
                found, boxes_xywh_px=boxes, score=score
            ),
        )
    ).numbers
    without = analyse(
        dataclasses.replace(
            scene, detections=found.taken(np.arange(40, len(found)))
        )
    ).numbers
    assert broken['num_non_finite'] == 40
    assert broken['overall'] == without['overall']
    assert broken['confusion'] == without['confusion']


@pytest.mark.parametrize('kind', KINDS)
def test_nothing_found(kind):
    scene = make_scene(0, kind)
    none = scene.detections.taken(np.zeros(0, int))
    numbers = analyse(dataclasses.replace(scene, detections=none)).numbers
    assert numbers['overall']['AP'] == 0
    assert numbers['errors']['counts']['missed'] == numbers['num_objects']
    assert numbers['calibration']['ece'] is None
    assert len(numbers['examples']['misses']) == 12
    json.dumps(numbers, allow_nan=False)


def test_examples_are_what_they_say():
    scene = make_scene(6, num_images=30)
    analysis = analyse(scene, num_examples=5)
    scene, examples = analysis.scene, analysis.numbers['examples']
    areas = [scene.objects.area[one['row']] for one in examples['misses']]
    assert areas == sorted(areas, reverse=True)
    assert not any(scene.is_ignored[one['row']] for one in examples['misses'])
    for group, kinds in (
        ('false_alarms', {'class', 'location', 'both', 'duplicate'}),
        ('label_suspects', {'background'}),
    ):
        facts = examples[group]
        assert len(facts) == 5
        assert {one['kind'] for one in facts} <= kinds
        scores = [one['score'] for one in facts]
        assert scores == sorted(scores, reverse=True)
        images = [one['image'] for one in facts]
        assert len(set(images)) == len(images)
