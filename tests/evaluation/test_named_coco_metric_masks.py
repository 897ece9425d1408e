"""The metric ``segm``."""

import copy
import json

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rfdetr_mm.errors import InputError
from tests.evaluation.test_named_coco_metric import (
    CLASSES,
    HEIGHT,
    WIDTH,
    canonical,
    evaluate,
    predictions,
    rewritten,
    with_instances,
    without_detections,
)

BOTH = ['bbox', 'segm']


def ellipse(x1, y1, x2, y2):
    """Filled ellipse in a box of pixels, bool (HEIGHT, WIDTH)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    radii = max(x2 - x1, 1) / 2, max(y2 - y1, 1) / 2
    return (
        ((x - (x1 + x2) / 2) / radii[0]) ** 2
        + ((y - (y1 + y2) / 2) / radii[1]) ** 2
    ) <= 1


def to_rle(mask):
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=list(mask.shape), counts=rle['counts'].decode())


@pytest.fixture(scope='module')
def truth():
    """Every other object a polygon, the others and crowds encoded."""
    content = canonical()
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        if annotation['id'] % 2 and not annotation['iscrowd']:
            angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
            corners = np.stack(
                [
                    x + w / 2 * (1 + np.cos(angles)),
                    y + h / 2 * (1 + np.sin(angles)),
                ],
                axis=1,
            )
            annotation['segmentation'] = [corners.flatten().tolist()]
        else:
            annotation['segmentation'] = to_rle(ellipse(x, y, x + w, y + h))
    return content


@pytest.fixture(scope='module')
def samples(truth):
    samples = predictions(truth)
    for sample in samples:
        found = sample['pred_instances']
        masks = [ellipse(*box) for box in found['bboxes'].tolist()]
        found['masks'] = torch.from_numpy(
            np.array(masks).reshape(-1, HEIGHT, WIDTH)
        )
    return samples


def expected(truth, samples, kind):
    """AP and AP50 by pycocotools alone."""
    reference = COCO()
    reference.dataset = copy.deepcopy(truth)
    reference.createIndex()
    results = []
    for sample in samples:
        found = sample['pred_instances']
        for box, score, label, mask in zip(
            *(found[k].tolist() for k in ('bboxes', 'scores', 'labels')),
            found['masks'].numpy(),
        ):
            x1, y1, x2, y2 = box
            entry = dict(image_id=sample['img_id'], category_id=label + 1)
            entry.update(score=score, segmentation=to_rle(mask))
            if kind == 'bbox':
                entry.pop('segmentation')
                entry['bbox'] = [x1, y1, x2 - x1, y2 - y1]
            results.append(entry)
    run = COCOeval(reference, reference.loadRes(results), kind)
    run.evaluate()
    run.accumulate()
    run.summarize()
    return run.stats[:2]


def test_equals_pycocotools(tmp_path, truth, samples):
    found = evaluate(tmp_path, truth, samples, metric=BOTH)
    for kind in BOTH:
        ap, ap50 = expected(truth, samples, kind)
        assert found[f'coco/{kind}_mAP'] == pytest.approx(ap, abs=6e-4)
        assert found[f'coco/{kind}_mAP_50'] == pytest.approx(ap50, abs=6e-4)
    # Masks and boxes are not the same measure here.
    assert found['coco/segm_mAP'] != found['coco/bbox_mAP']
    assert 0.1 < found['coco/segm_mAP'] < 0.9


@pytest.mark.parametrize('how', ['other order', 'other ids', 'another class'])
def test_labels_go_by_names(tmp_path, truth, samples, how):
    content = rewritten(truth, how)
    for annotation in content['annotations']:
        annotation.setdefault('segmentation', [[1, 2, 9, 2, 9, 9]])
    assert evaluate(tmp_path, content, samples, metric=BOTH) == evaluate(
        tmp_path, truth, samples, metric=BOTH
    )


def test_without_detections(tmp_path, truth):
    samples = without_detections(truth)
    for sample in samples:
        sample['pred_instances']['masks'] = torch.zeros(
            0, HEIGHT, WIDTH, dtype=torch.bool
        )
    found = evaluate(tmp_path, truth, samples, metric=BOTH)
    assert found['coco/segm_mAP'] == found['coco/bbox_mAP'] == 0


def test_a_file_without_masks_is_an_error(tmp_path, truth, samples):
    content = copy.deepcopy(truth)
    annotation = content['annotations'][3]
    del annotation['segmentation']
    with pytest.raises(InputError, match=f'annotation {annotation["id"]} has'):
        evaluate(tmp_path, content, samples, metric=BOTH)
    assert evaluate(tmp_path, content, samples, metric='bbox')


def test_a_loader_without_masks_is_an_error(tmp_path, truth, samples):
    loaded = with_instances(truth, samples)
    with pytest.raises(InputError, match='image 2 has a box but no mask'):
        evaluate(tmp_path, None, loaded, metric=BOTH)
    assert evaluate(tmp_path, None, loaded, metric='bbox')


def test_masks_without_area_are_left_out(tmp_path, truth, samples, log_lines):
    """pycocotools would take two corners for a box."""
    content = copy.deepcopy(truth)
    content['annotations'].append(
        dict(
            content['annotations'][0],
            id=999,
            iscrowd=0,
            segmentation=[[5, 5, 60, 50]],
        )
    )
    assert evaluate(tmp_path, content, samples, metric=BOTH) == evaluate(
        tmp_path, truth, samples, metric=BOTH
    )
    assert any('1 of 45 objects are not evaluated' in s for s in log_lines)


def test_masks_are_kept_encoded(tmp_path, truth, samples):
    """What grows with the number of images are run lengths."""
    (tmp_path / 'boxes.json').write_text(json.dumps(truth))
    metric = METRICS.build(
        dict(
            type='NamedCocoMetric',
            ann_file=str(tmp_path / 'boxes.json'),
            metric=BOTH,
        )
    )
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, copy.deepcopy(samples))
    for _, prediction in metric.results:
        for mask in prediction['masks']:
            assert set(mask) == {'size', 'counts'}
            assert len(mask['counts']) < 200
