"""Keypoints of exported files: scores, pixels, covariances, schemas."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from toy_onnx import FACTS, NUM_KEYPOINTS, POINTS, write_toy

from rfdetr_mm.models.layers import keypoint_schema
from rfdetr_mm.models.layers.keypoint_scores import fuse_scores
from rfdetr_runtime import InputError, keypoints, load
from rfdetr_runtime.detection_files import paint, to_coco, to_record
from rfdetr_runtime.keypoints import (
    lower_scores,
    pixel_covariances,
    slots_of_classes,
)

pytest.importorskip('onnxruntime')
GREY = np.full((8, 18, 3), 51, np.uint8)  # (h, w) not the file's


def test_channels_are_the_models():
    for name in ('FINDABLE', 'LOG_L11', 'L21', 'LOG_L22', 'NUM_CHANNELS'):
        assert getattr(keypoints, name) == getattr(keypoint_schema, name)


@pytest.mark.parametrize('alpha', [0.0, 0.2, 1.5])
@pytest.mark.parametrize('size', [0.5, 8.0])
def test_lowered_scores_are_pytorchs(alpha, size):
    rng = np.random.default_rng(0)
    points = (size * rng.normal(size=(40, 5, 8))).astype(np.float32)
    points[0] = 0
    points[1, 0, keypoints.LOG_L11] = -60  # very uncertain
    scores = rng.random(40).astype(np.float32)
    scores[2] = 0
    active = rng.random((40, 5)) < 0.6
    active[3] = False
    expected = fuse_scores(
        *map(torch.from_numpy, (scores, points, active)), alpha
    ).numpy()
    found = lower_scores(scores, points, active, alpha)
    np.testing.assert_allclose(found, expected, atol=2e-7)
    assert found.dtype == np.float32 and (found < 1).all()
    assert (found != scores).any() == (alpha > 0)
    # A class without keypoints: the sigmoid of the logarithm of its score.
    if alpha:
        assert found[3] == pytest.approx(scores[3] / (1 + scores[3]))
    assert lower_scores(scores[:0], points[:0], active[:0], alpha).shape == (
        0,
    )


def test_covariances_are_inverse_matrices():
    rng = np.random.default_rng(0)
    precision = rng.normal(size=(3, 2, 3)).astype(np.float32)
    precision[2, 1] = np.nan
    found = pixel_covariances(precision, (50, 80))
    scale = np.diag([80.0, 50.0])
    for i, k in np.ndindex(3, 2):
        log_l11, l21, log_l22 = precision[i, k].astype(float)
        lower = np.array([[np.exp(log_l11), 0], [l21, np.exp(log_l22)]])
        expected = scale @ np.linalg.inv(lower @ lower.T) @ scale
        if np.isnan(log_l11):
            assert np.isnan(found[i, k]).all()
        else:
            np.testing.assert_allclose(found[i, k], expected, rtol=1e-5)


@pytest.mark.parametrize('layout', ['end2end', 'raw'])
def test_a_file_gives_the_keypoints_of_the_classes(tmp_path, layout):
    file = write_toy(tmp_path / 'a.onnx', layout, pose=True)
    model = load(file)
    assert model.task == 'keypoints'
    assert model.facts.num_keypoints == NUM_KEYPOINTS
    found = model.predict(GREY, 0.0)[:2]
    # The best object is a dog with two keypoints, the other a cat with one.
    assert found.class_names.tolist() == ['dog', 'cat']
    points = found.data['keypoints']
    assert points.shape == (2, 2, 3)
    sure, unsure = 1 / (1 + np.exp([-3.0, 3.0]))
    expected = [
        [[9, 2, sure], [13.5, 4, unsure]],
        [[13.5, 4, unsure], [0, 0, 0]],
    ]
    np.testing.assert_allclose(points, expected, atol=1e-5)
    precision = found.data['keypoint_precision_cholesky']
    np.testing.assert_allclose(precision[0, 0], [2, 0.5, 1])
    assert np.isnan(precision[1, 1]).all()
    # Thresholds are those of the scores that uncertainty has lowered.
    best = float(found.confidence[0])
    assert best not in model.predict(GREY, best).confidence
    plain = dict(FACTS, trace_alpha=0)
    other = write_toy(tmp_path / 'b.onnx', layout, pose=True, facts=plain)
    assert (load(other).predict(GREY, 0.0).confidence[:2] != best).all()


def test_key_points_of_supervision(tmp_path):
    supervision = pytest.importorskip('supervision')
    model = load(write_toy(tmp_path / 'a.onnx', pose=True))
    found = model.predict(GREY, 0.0)
    theirs = model.predict(GREY, 0.0, as_supervision=True)
    assert isinstance(theirs, supervision.KeyPoints)
    np.testing.assert_array_equal(theirs.xy, found.data['keypoints'][..., :2])
    np.testing.assert_array_equal(
        theirs.keypoint_confidence, found.data['keypoints'][..., 2]
    )
    np.testing.assert_array_equal(
        theirs.detection_confidence, found.confidence
    )
    np.testing.assert_array_equal(theirs.data['xyxy'], found.xyxy)
    assert theirs.visible.tolist() == [[True, True], [True, False]]
    covariance = pixel_covariances(
        found.data['keypoint_precision_cholesky'], GREY.shape[:2]
    )
    np.testing.assert_array_equal(theirs.data['covariance'], covariance)
    assert theirs.data['source_image'][1] is GREY
    assert 'source_image' not in (
        model.predict(
            GREY, 0.0, as_supervision=True, include_source_image=False
        ).data
    )
    nothing = model.predict(GREY, 0.999, as_supervision=True)
    assert len(nothing) == 0 and nothing.xy.shape[0] == 0


def test_files_and_pictures_have_them(tmp_path):
    model = load(write_toy(tmp_path / 'a.onnx', pose=True))
    found = model.predict(np.zeros((80, 180, 3), np.uint8), 0.0)
    record = to_record('a.png', found)
    counts = [len(d['keypoints_xy_px_score']) for d in record['detections']]
    assert counts == [2, 1]
    content = json.loads(json.dumps(to_coco([record], model.class_names)))
    assert content['annotations'][0]['keypoints'][2::3] == [2, 1]
    picture = np.asarray(paint(found))
    assert isinstance(paint(found), Image.Image)
    assert picture[20, 90].any()  # a dot, of the sure keypoint alone
    assert not picture[40, 140].any()


def test_a_file_that_does_not_say_is_of_one_class(tmp_path):
    """As rfdetr's own: four keypoints."""
    file = write_toy(tmp_path / 'a.onnx', 'raw', pose=True, facts={})
    with pytest.warns(UserWarning, match='num_keypoints, task|num_keypoints'):
        model = load(file)
    assert model.task == 'keypoints'
    found = model.predict(GREY, 0.0)
    assert found.data['keypoints'].shape[1:] == (4, 3)
    with pytest.warns(UserWarning):
        model = load(file, num_keypoints=[1, 2])
    points = model.predict(GREY, 0.0).data['keypoints']
    assert points.shape[1:] == (2, 3) and (points[1, 1] == 0).all()


@pytest.mark.parametrize(
    'counts, message',
    [
        ([3, 2], 'has 4 keypoints for each object, but .* room for 3, 6: giv'),
        ([4, -1], r'natural numbers, .* not all 0, got \[4, -1\] for a.onnx'),
        ([0, 0], 'not all 0'),
        ([2.0, 2], 'natural numbers'),
    ],
)
def test_numbers_of_keypoints_that_cannot_be(counts, message):
    with pytest.raises(InputError, match=message):
        slots_of_classes('a.onnx', counts, 4)
    assert slots_of_classes('a.onnx', [1, 2], 4).tolist() == [
        [True, False],
        [True, True],
    ]


def test_keypoints_that_are_no_numbers(tmp_path, monkeypatch):
    broken = POINTS.copy()
    broken[0, 1, 0] = np.nan
    monkeypatch.setattr('toy_onnx.POINTS', broken)
    model = load(write_toy(tmp_path / 'a.onnx', pose=True))
    with pytest.raises(InputError, match='a.onnx gave values that are not fi'):
        model.predict(GREY, 0.0)
