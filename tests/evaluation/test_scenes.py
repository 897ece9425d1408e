"""What is analysed is what the metrics have compared."""

import copy
import json

import numpy as np
import pytest
from mmdet.registry import METRICS

from rfdetr_mm.evaluation.analysis import analyse
from rfdetr_mm.evaluation.scenes import scenes_of
from tests.evaluation.test_named_coco_metric import (
    CLASSES,
    rewritten,
    without_detections,
)
from tests.evaluation.test_named_coco_metric_masks import (  # noqa: F401
    BOTH,
    samples,
    truth,
)
from tests.evaluation.test_named_oks_metric import build, found
from tests.evaluation.test_named_oks_metric import truth as pose_truth

pytest.importorskip('vernier', reason='vernier is not installed')


class Images:
    """A data set, as far as it says where the images are."""

    def __init__(self, content):
        self.images = content['images']

    def __len__(self):
        return len(self.images)

    def get_data_info(self, number):
        image = self.images[number]
        return dict(img_id=image['id'], img_path=f'/x/{image["file_name"]}')


def evaluated(tmp_path, content, given, **options):
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    metric = METRICS.build(
        dict(
            ann_file=str(tmp_path / 'truth.json'),
            keep_results=True,
            proposal_nums=(1, 10, 100),
            **options,
        )
    )
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, copy.deepcopy(given))
    return metric, metric.evaluate(len(given))


@pytest.mark.parametrize('kind', ['NamedCocoMetric', 'VernierCocoMetric'])
@pytest.mark.parametrize('how', ['other order', 'ids from 0', 'another class'])
def test_boxes_and_masks(tmp_path, truth, samples, how, kind):  # noqa: F811
    content = rewritten(truth, how)
    for annotation in content['annotations']:
        annotation.setdefault('segmentation', [[1, 2, 30, 2, 30, 40]])
    metric, metrics = evaluated(
        tmp_path, content, samples, type=kind, metric=BOTH
    )
    scenes = scenes_of(metric, metric.kept, Images(content))
    assert [scene.kind for scene in scenes] == BOTH
    assert scenes[0].image_paths[0] == '/x/1.png'
    rounded = 1e-9 if kind == 'VernierCocoMetric' else 6e-4
    for scene in scenes:
        numbers = analyse(scene).numbers
        for ours, theirs in (('AP', 'mAP'), ('AP50', 'mAP_50')):
            expected = metrics[f'coco/{scene.kind}_{theirs}']
            assert numbers['overall'][ours] == pytest.approx(
                expected, abs=rounded
            )
        assert [row['class'] for row in numbers['of_classes']] == [*CLASSES]


def test_the_number_of_detections_is_that_of_the_metric(
    tmp_path,
    truth,  # noqa: F811
    samples,  # noqa: F811
):
    options = dict(type='VernierCocoMetric', metric='bbox')
    metric, metrics = evaluated(tmp_path, truth, samples, **options)
    assert scenes_of(metric, metric.kept, Images(truth))[0].maximum == 100
    metric.proposal_nums = (1,)
    metric.process({}, copy.deepcopy(samples))
    fewer = metric.evaluate(len(samples))
    (scene,) = scenes_of(metric, metric.kept, Images(truth))
    found_ap = analyse(scene).numbers['overall']['AP']
    assert found_ap == pytest.approx(fewer['coco/bbox_mAP'], abs=1e-9)
    assert found_ap < metrics['coco/bbox_mAP']


@pytest.mark.parametrize('counts', [(3, 3), (4, 0, 6)])
def test_keypoints(tmp_path, counts):
    content = pose_truth(counts, crowds=0.2)
    metric = build(tmp_path, content, counts, keep_results=True)
    given = found(content, counts)
    metric.process({}, given)
    metrics = metric.evaluate(len(given))
    boxes, points = scenes_of(metric, metric.kept, Images(content))
    numbers = analyse(points).numbers
    for ours, theirs in (('AP', ''), ('AP50', '_50'), ('AP75', '_75')):
        expected = metrics[f'coco/keypoint_mAP{theirs}']
        # The metric is a mean over groups of classes, the same here.
        assert numbers['overall'][ours] == pytest.approx(expected, abs=1e-9)
    assert 0.1 < numbers['overall']['AP'] < 1
    assert boxes.kind == 'bbox'
    assert len(points.detections) <= len(boxes.detections)
    with_points = [label for label, count in enumerate(counts) if count]
    assert set(points.detections.label) <= set(with_points)


def test_no_detections(tmp_path, truth):  # noqa: F811
    given = without_detections(truth)
    metric, _ = evaluated(tmp_path, truth, given, type='NamedCocoMetric')
    (scene,) = scenes_of(metric, metric.kept, Images(truth))
    assert len(scene.detections) == 0
    assert scene.detections.boxes_xywh_px.shape == (0, 4)
    assert np.isfinite(scene.objects.boxes_xywh_px).all()


def test_results_are_kept_on_demand_only(tmp_path, truth, samples):  # noqa: F811
    metric, _ = evaluated(tmp_path, truth, samples, type='NamedCocoMetric')
    assert len(metric.kept) == len(samples)
    metric.keep_results, metric.kept = False, []
    metric.process({}, copy.deepcopy(samples))
    metric.evaluate(len(samples))
    assert metric.kept == []
