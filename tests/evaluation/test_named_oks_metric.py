"""Keypoint metrics beside pycocotools' own, class by class."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rfdetr_mm.errors import InputError

EXACT = dict(rel=0.0, abs=1e-9)
STATS = {
    'coco/keypoint_mAP': 0,
    'coco/keypoint_mAP_50': 1,
    'coco/keypoint_mAP_75': 2,
    'coco/keypoint_mAR': 5,
}


def truth(counts, num_images=6, seed=0, crowds=0.0, empty=()):
    """Objects with some keypoints not labelled; none in the first image."""
    rng = np.random.default_rng(seed)
    annotations = []
    for image_id in range(2, num_images + 1):
        for label in range(len(counts)):
            for _ in range(0 if label in empty else 4):
                x, y = rng.uniform(0, 50, 2)
                w, h = rng.uniform(20, 80, 2)
                points = rng.uniform(0, 1, (counts[label], 2)) * (w, h)
                visible = rng.integers(0, 3, (counts[label], 1))
                points = np.concatenate([points + (x, y), visible], axis=1)
                points *= visible > 0
                annotation = dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=10 * (label + 1),
                    bbox=[x, y, w, h],
                    area=0.6 * w * h,
                    iscrowd=int(rng.random() < crowds),
                    keypoints=points.flatten().tolist(),
                )
                if rng.random() < 0.5:
                    annotation['num_keypoints'] = int((visible > 0).sum())
                annotations.append(annotation)
    return dict(
        images=[
            dict(id=i, file_name=f'{i}.png', height=150, width=150)
            for i in range(1, num_images + 1)
        ],
        annotations=annotations,
        # Written in another order than that of the labels
        categories=[
            dict(
                id=10 * (label + 1),
                name=f'class {label}',
                keypoints=[f'{k}' for k in range(count)],
            )
            for label, count in reversed(list(enumerate(counts)))
        ],
    )


def found(content, counts, seed=1, noise=3.0):
    """What was labelled, moved; and a false one in every image."""
    rng = np.random.default_rng(seed)
    samples = []
    for image in content['images']:
        own = [
            a for a in content['annotations'] if a['image_id'] == image['id']
        ]
        labels = [a['category_id'] // 10 - 1 for a in own] + [0]
        keypoints = np.zeros((len(labels), max(counts), 2))
        for row, annotation in zip(keypoints, own):
            points = np.array(annotation['keypoints']).reshape(-1, 3)
            row[: len(points)] = points[:, :2]
        keypoints += rng.normal(0, noise, keypoints.shape)
        boxes = [a['bbox'] for a in own] + [[1, 2, 30, 40]]
        boxes = torch.tensor(boxes).float()
        boxes[:, 2:] += boxes[:, :2]
        samples.append(
            dict(
                img_id=image['id'],
                ori_shape=(150, 150),
                pred_instances=dict(
                    bboxes=boxes,
                    scores=torch.from_numpy(rng.random(len(labels))),
                    labels=torch.tensor(labels),
                    keypoints=torch.from_numpy(keypoints),
                ),
            )
        )
    return samples


def build(tmp_path, content, counts, **options):
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(content))
    metric = METRICS.build(
        dict(type='NamedOksMetric', ann_file=str(path), **options)
    )
    metric.dataset_meta = dict(
        classes=[f'class {label}' for label in range(len(counts))],
        num_keypoints=tuple(counts),
    )
    return metric


def ours(tmp_path, content, samples, counts, **options):
    metric = build(tmp_path, content, counts, **options)
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def pycocotools(content, samples, label, count, sigmas):
    """The class alone, by the reference's own steps."""
    content = json.loads(json.dumps(content))
    for annotation in content['annotations']:
        points = np.array(annotation.get('keypoints', [])).reshape(-1, 3)
        annotation.setdefault('num_keypoints', int((points[:, 2] > 0).sum()))
    category = 10 * (label + 1)
    detections = []
    for sample in samples:
        pred = sample['pred_instances']
        for i in (pred['labels'] == label).nonzero()[:, 0].tolist():
            points = np.ones((count, 3))
            points[:, :2] = pred['keypoints'][i, :count]
            detections.append(
                dict(
                    image_id=sample['img_id'],
                    category_id=category,
                    score=float(pred['scores'][i]),
                    keypoints=points.flatten().tolist(),
                )
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = content
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(detections), 'keypoints')
        evaluation.params.catIds = [category]
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize(
    ('counts', 'sigmas'),
    [
        ((17,), None),
        ((17,), [0.03 + 0.01 * k for k in range(17)]),
        ((5,), None),
        ((5,), [0.02, 0.04, 0.06, 0.08, 0.1]),
        ((3, 17), None),
        ((4, 4), [0.05, 0.1, 0.05, 0.1]),
        ((3, 2), {'class 0': [0.1, 0.2, 0.1], 'class 1': [0.01, 0.02]}),
    ],
)
@pytest.mark.parametrize('crowds', [0.0, 0.3])
def test_numbers_are_pycocotools(tmp_path, counts, sigmas, crowds):
    content = truth(counts, crowds=crowds)
    samples = found(content, counts)
    result = ours(tmp_path, content, samples, counts, sigmas=sigmas)
    stats = []
    for label, count in enumerate(counts):
        own = sigmas
        if isinstance(sigmas, dict):
            own = sigmas[f'class {label}']
        elif sigmas is None and count != 17:
            own = [0.05] * count
        stats.append(pycocotools(content, samples, label, count, own))
    for name, place in STATS.items():
        expected = np.mean([s[place] for s in stats])
        assert 0.05 < expected < 1
        assert result[name] == pytest.approx(expected, **EXACT)
    assert result['coco/bbox_mAP'] > 0.5


def test_left_and_right_matter(tmp_path):
    """The negative control: exchanged keypoints are worth less."""
    content = truth((4,))
    samples = found(content, (4,), noise=1.0)
    good = ours(tmp_path, content, samples, (4,))
    for sample in samples:
        pred = sample['pred_instances']
        pred['keypoints'] = pred['keypoints'][:, [1, 0, 3, 2]]
    bad = ours(tmp_path, content, samples, (4,))
    assert bad['coco/keypoint_mAP'] < 0.5 * good['coco/keypoint_mAP']


def test_classes_without_truth_are_left_out(tmp_path):
    counts = (3, 5)
    content = truth(counts, empty=(1,))
    samples = found(content, counts)
    result = ours(tmp_path, content, samples, counts)
    alone = pycocotools(content, samples, 0, 3, [0.05] * 3)
    for name, place in STATS.items():
        assert result[name] == pytest.approx(alone[place], **EXACT)


def test_no_labelled_keypoint_gives_minus_one(tmp_path):
    content = truth((3,))
    for annotation in content['annotations']:
        del annotation['keypoints']
        annotation['num_keypoints'] = 0
    result = ours(tmp_path, content, found(truth((3,)), (3,)), (3,))
    assert all(result[name] == -1 for name in STATS)


def test_nothing_detected_gives_zero(tmp_path):
    content = truth((3,))
    samples = found(content, (3,))
    for sample in samples:
        pred = sample['pred_instances']
        for name in pred:
            pred[name] = pred[name][:0]
    result = ours(tmp_path, content, samples, (3,))
    assert all(result[name] == 0 for name in STATS)


def test_classes_without_keypoints_count_in_boxes_alone(tmp_path):
    content = truth((3, 0))
    samples = found(content, (3, 0))
    result = ours(tmp_path, content, samples, (3, 0))
    alone = pycocotools(content, samples, 0, 3, [0.05] * 3)
    assert result['coco/keypoint_mAP'] == pytest.approx(alone[0], **EXACT)


def test_detections_that_are_not_finite_count_nowhere(tmp_path):
    content = truth((3,))
    samples = found(content, (3,))
    samples[2]['pred_instances']['keypoints'][0, 1, 0] = torch.nan
    result = ours(tmp_path, content, samples, (3,))
    assert result['coco/non_finite'] == 1
    assert np.isfinite(result['coco/keypoint_mAP'])


def test_truth_of_the_data_loader(tmp_path):
    """As of YOLO labels; area is the box's then."""
    content = truth((3,))
    for annotation in content['annotations']:
        annotation['area'] = annotation['bbox'][2] * annotation['bbox'][3]
    samples = found(content, (3,))
    expected = ours(tmp_path, content, samples, (3,))
    for sample in samples:
        sample['instances'] = [
            dict(
                bbox=[x, y, x + w, y + h],
                bbox_label=0,
                ignore_flag=0,
                keypoints=np.reshape(a['keypoints'], (-1, 3)).tolist(),
            )
            for a in content['annotations']
            if a['image_id'] == sample['img_id']
            for x, y, w, h in [a['bbox']]
        ]
    metric = METRICS.build(dict(type='NamedOksMetric'))
    metric.dataset_meta = dict(classes=['class 0'], num_keypoints=(3,))
    metric.process({}, samples)
    result = metric.evaluate(len(samples))
    for name in STATS:
        assert result[name] == pytest.approx(expected[name], **EXACT)


@pytest.mark.parametrize(
    ('sigmas', 'message'),
    [
        ([0.1, 0.1], "'class 0' has 3 keypoints, but sigmas has 2"),
        ([0.1, 0.0, 0.1], 'positive numbers'),
        ([0.1, -0.1, 0.1], 'positive numbers'),
        ([0.1, float('nan'), 0.1], 'positive numbers'),
        ({'class 0': [0.1]}, 'has 3 keypoints, but sigmas has 1'),
    ],
)
def test_impossible_sigmas(tmp_path, sigmas, message):
    content = truth((3,))
    with pytest.raises(InputError, match=message):
        ours(tmp_path, content, found(content, (3,)), (3,), sigmas=sigmas)


def test_keypoints_of_the_file_where_the_data_set_loads_none(tmp_path):
    content = truth((3,))
    samples = found(content, (3,))
    metric = build(tmp_path, content, (3,))
    del metric.dataset_meta['num_keypoints']
    metric.process({}, samples)
    expected = ours(tmp_path, content, samples, (3,))
    assert metric.evaluate(len(samples)) == expected
