"""The same numbers as pycocotools, by way of vernier."""

import copy
import math
import sys

import numpy as np
import pytest
import torch

from rfdetr_mm.errors import InputError
from tests.evaluation.test_named_coco_metric import (
    CLASSES,
    HEIGHT,
    WIDTH,
    evaluate,
    rewritten,
    sample,
    without_detections,
)
from tests.evaluation.test_named_coco_metric_masks import (  # noqa: F401
    BOTH,
    expected,
    samples,
    truth,
)

pytest.importorskip('vernier', reason='vernier is not installed')
VERNIER = dict(type='VernierCocoMetric')


def test_equals_pycocotools(tmp_path, truth, samples):  # noqa: F811
    found = evaluate(tmp_path, truth, samples, metric=BOTH, **VERNIER)
    for kind in BOTH:
        ap, ap50 = expected(truth, samples, kind)
        assert found[f'coco/{kind}_mAP'] == pytest.approx(ap, abs=1e-9)
        assert found[f'coco/{kind}_mAP_50'] == pytest.approx(ap50, abs=1e-9)
    assert found['coco/segm_mAP'] != found['coco/bbox_mAP']


@pytest.mark.parametrize(
    'how',
    [
        'other order',
        'other ids',
        'more categories',
        'ids from 0',
        'no areas',
        'another class',
    ],
)
def test_equals_its_parent(tmp_path, truth, samples, how):  # noqa: F811
    content = rewritten(truth, how)
    options = dict(metric='bbox', classwise=True)
    ours = evaluate(tmp_path, content, samples, **options, **VERNIER)
    parents = evaluate(tmp_path, content, samples, **options)
    assert ours.keys() == parents.keys()
    assert {'coco/bbox_mAP_s', 'coco/disc_precision'} <= ours.keys()
    for key, value in parents.items():
        assert ours[key] == pytest.approx(value, abs=6e-4, nan_ok=True), key


def test_a_class_that_the_file_lacks(tmp_path, truth, samples):  # noqa: F811
    found = evaluate(
        tmp_path,
        truth,
        samples,
        classes=(*CLASSES, 'moon'),
        metric='bbox',
        classwise=True,
        **VERNIER,
    )
    assert math.isnan(found['coco/moon_precision'])
    assert found['coco/disc_precision'] > 0


def test_order_of_the_images_and_images_left_out(
    tmp_path,
    truth,  # noqa: F811
    samples,  # noqa: F811
):
    options = dict(metric=BOTH, **VERNIER)
    whole = evaluate(tmp_path, truth, samples, **options)
    assert evaluate(tmp_path, truth, samples[::-1], **options) == whole
    part = evaluate(tmp_path, truth, samples[3:], **options)
    parents = evaluate(tmp_path, truth, samples[3:], metric=BOTH)
    assert part == pytest.approx(parents, abs=6e-4)
    assert part != whole


def test_without_detections(tmp_path, truth):  # noqa: F811
    empty = without_detections(truth)
    for one in empty:
        one['pred_instances']['masks'] = torch.zeros(
            0, HEIGHT, WIDTH, dtype=torch.bool
        )
    found = evaluate(tmp_path, truth, empty, metric=BOTH, **VERNIER)
    assert found['coco/segm_mAP'] == found['coco/bbox_mAP'] == 0


def test_the_limit_is_the_last_of_the_numbers(
    tmp_path,
    truth,  # noqa: F811
    samples,  # noqa: F811
):
    """Of each class and image, as COCO counts."""
    few = copy.deepcopy(samples)
    for one in few:
        found = one['pred_instances']
        order = found['scores'].argsort(descending=True).tolist()
        labels = found['labels'].tolist()
        best = [
            i
            for n, i in enumerate(order)
            if [labels[j] for j in order[:n]].count(labels[i]) < 2
        ]
        one['pred_instances'] = {k: v[best] for k, v in found.items()}
    options = dict(metric=BOTH, **VERNIER)
    cut = evaluate(
        tmp_path, truth, samples, proposal_nums=(1, 1, 2), **options
    )
    assert cut == evaluate(tmp_path, truth, few, **options)
    assert cut != evaluate(tmp_path, truth, samples, **options)


@pytest.mark.parametrize('limit, found', [(100, 0.83), (500, 1.0)])
def test_more_than_100_objects(tmp_path, limit, found):
    """All 120 are found; AP of 100 of them is their recall, at most."""
    boxes = [[7 * (i % 12), 6 * (i // 12), 5, 4] for i in range(120)]
    content = dict(
        images=[dict(id=1, width=WIDTH, height=HEIGHT, file_name='1.jpg')],
        categories=[dict(id=1, name=CLASSES[0])],
        annotations=[
            dict(
                id=i + 1,
                image_id=1,
                category_id=1,
                bbox=box,
                area=20,
                iscrowd=0,
            )
            for i, box in enumerate(boxes)
        ],
    )
    corners = [[x, y, x + w, y + h] for x, y, w, h in boxes]
    rng = np.random.default_rng(0)
    metrics = evaluate(
        tmp_path,
        content,
        [sample(1, corners, [0] * 120, rng)],
        classes=CLASSES[:1],
        metric='bbox',
        proposal_nums=(1, 10, limit),
        **VERNIER,
    )
    assert metrics['coco/bbox_mAP'] == pytest.approx(found, abs=0.005)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(metric='proposal'), 'evaluates bbox and segm'),
    ],
)
def test_what_it_does_not_do(
    tmp_path,
    truth,  # noqa: F811
    options,
    message,
):
    with pytest.raises(InputError, match=message):
        evaluate(tmp_path, truth, [], **options, **VERNIER)


def test_without_vernier(tmp_path, truth, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, 'vernier', None)
    with pytest.raises(InputError, match='pip install "vernier'):
        evaluate(tmp_path, truth, [], metric='bbox', **VERNIER)


def test_masks_are_evaluated_and_written(
    tmp_path,
    truth,  # noqa: F811
    samples,  # noqa: F811
):
    """Writing makes the encodings text, which the evaluator does not take."""
    options = dict(metric=BOTH, **VERNIER)
    prefix = str(tmp_path / 'found')
    written = evaluate(
        tmp_path, truth, samples, outfile_prefix=prefix, **options
    )
    assert written == evaluate(tmp_path, truth, samples, **options)
    for kind in BOTH:
        assert (tmp_path / f'found.{kind}.json').stat().st_size > 1000
