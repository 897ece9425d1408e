"""Skeletons over boxes, of the truth and of predictions."""

import numpy as np
import pytest
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

# Two classes; the second one has two of three keypoints, and no line.
LINKS = [[(0, 1)], []]
POINTS = torch.tensor(
    [
        [[10.0, 10], [30, 10], [50, 30]],
        [[10.0, 50], [30, 50], [0, 0]],
    ]
)


@pytest.fixture
def paint():
    visualizer = VISUALIZERS.build(
        dict(type='PoseLocalVisualizer', name='skeletons')
    )

    def run(links=LINKS, **instances):
        visualizer.dataset_meta = dict(
            classes=('a', 'b'), palette='random', keypoint_links=links
        )
        (name, instances), *_ = instances.items()
        sample = DetDataSample(**{name: instances})
        is_truth = name == 'gt_instances'
        visualizer.add_datasample(
            'x',
            np.zeros((60, 200, 3), np.uint8),
            sample,
            draw_gt=is_truth,
            draw_pred=not is_truth,
        )
        return visualizer.get_image()

    return run


def objects(**others):
    return InstanceData(
        bboxes=torch.tensor([[190.0, 2, 198, 8], [190, 42, 198, 48]]),
        labels=torch.tensor([0, 1]),
        **others,
    )


def test_predictions(paint):
    scores = torch.tensor([[0.9, 0.6, 0.4], [0.9, 0.9, 0.0]])
    found = objects(
        scores=torch.tensor([0.9, 0.8]),
        keypoints=POINTS,
        keypoint_scores=scores,
    )
    painted = paint(pred_instances=found)
    assert painted[10, 10].any() and painted[10, 30].any()
    assert painted[10, 20].all()  # the line
    assert not painted[30, 50].any()  # too unlikely
    assert painted[50, 10].any() and not painted[50, 20].any()
    assert not painted[:6, :6].any()  # the second class has no third one
    # Objects below the threshold of the painter have no skeleton either.
    found.scores[0] = 0.1
    assert not paint(pred_instances=found)[10, 10].any()


def test_the_truth(paint):
    visibility = torch.tensor([[2.0, 1, 0], [2, 2, 0]])
    keypoints = torch.cat([POINTS, visibility[..., None]], dim=-1)
    painted = paint(gt_instances=objects(keypoints=keypoints))
    assert painted[10, 10].any() and painted[10, 20].all()
    assert painted[10, 33].any()  # a ring
    assert not painted[30, 50].any()
    # Without lines of the data set there are dots alone.
    plain = paint(None, gt_instances=objects(keypoints=keypoints))
    assert plain[10, 10].any() and not plain[10, 20].any()


def test_boxes_alone_and_no_objects(paint):
    assert paint(gt_instances=objects())[2:8, 190:198].any()
    empty = objects(keypoints=torch.zeros(2, 3, 3))[:0]
    assert not paint(gt_instances=empty).any()
