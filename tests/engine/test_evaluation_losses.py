"""Losses of validation and tests: their values; nothing else moves."""

import copy
import random

import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from torch import nn

from rfdetr_mm.engine.evaluation_losses import EvaluationLosses, with_masks
from rfdetr_mm.errors import InputError
from tests.small_detector import batch, build

ORIGINAL = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RFDETRResize'),
            dict(type='LoadAnnotations'),
            dict(type='PackDetInputs'),
        ]
    )
)
RESIZED = dict(
    dataset=dict(
        pipeline=[dict(type='LoadAnnotations'), dict(type='RFDETRResize')]
    )
)


@pytest.fixture(scope='module')
def model():
    return build()[0].eval()


def in_original(data, factor_wh=(2.0, 0.5)):
    """The same batch whose objects are in pixels of an original image."""
    data = copy.deepcopy(data)
    for sample in data['data_samples']:
        height, width = sample.img_shape
        sample.set_metainfo(
            dict(
                scale_factor=factor_wh,
                ori_shape=(height / factor_wh[1], width / factor_wh[0]),
            )
        )
        sample.gt_instances.bboxes /= torch.tensor([*factor_wh] * 2)
    return data


@torch.no_grad()
def expected_losses(model, data):
    """Of ``mode='loss'`` in evaluation, on objects of the network's input."""
    prepared = model.data_preprocessor(copy.deepcopy(data), False)
    total, logged = model.parse_losses(model(**prepared, mode='loss'))
    return {name: float(value) for name, value in logged.items()}


def test_values_are_those_of_a_pass_in_evaluation(model):
    data = batch(0, (3, 0, 1))
    expected = expected_losses(model, data)
    losses = EvaluationLosses(model, RESIZED)
    with torch.no_grad():
        losses.run(model.val_step, data)
    found = losses.means('val/')
    assert found == pytest.approx({f'val/{k}': v for k, v in expected.items()})
    single = [v for k, v in found.items() if 'loss_' in k]
    assert found['val/loss'] == pytest.approx(sum(single))
    assert {'val/enc_loss_bbox', 'val/class_error'} <= {*found}


def test_objects_are_scaled_to_the_input(model):
    data = batch(1, (2, 1))
    expected = expected_losses(model, data)
    for loader, given in (
        (ORIGINAL, in_original(data)),
        (dict(dataset=dict(type='Repeat', **ORIGINAL)), in_original(data)),
    ):
        losses = EvaluationLosses(model, loader)
        with torch.no_grad():
            losses.run(model.val_step, given)
        found = losses.means('')
        assert found == pytest.approx(expected, rel=1e-5)
    losses = EvaluationLosses(model, RESIZED)
    with torch.no_grad():
        losses.run(model.val_step, in_original(data))
    assert losses.means('')['loss_bbox'] != pytest.approx(
        expected['loss_bbox'], rel=1e-2
    )


def test_the_mean_counts_images(model):
    batches = [batch(2, (3, 1, 2)), batch(3, (4,)), batch(4, (0,))]
    expected = [expected_losses(model, data) for data in batches]
    losses = EvaluationLosses(model, RESIZED)
    for _ in range(2):  # it starts again
        with torch.no_grad():
            for data in batches:
                losses.run(model.test_step, data)
        found = losses.means('test/')
        for name in expected[0]:
            values = [one[name] for one in expected]
            mean = (3 * values[0] + values[1] + values[2]) / 5
            assert found[f'test/{name}'] == pytest.approx(mean)


def test_nothing_else_moves(model):
    data = in_original(batch(5, (2, 0, 3)))
    before = copy.deepcopy(data)
    with torch.no_grad():
        plain = model.val_step(copy.deepcopy(data))
    states = random.getstate(), np.random.get_state()[1], torch.get_rng_state()
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    model.loss_factor = 3.0  # of the last step before the validation
    with torch.no_grad():
        found = EvaluationLosses(model, ORIGINAL).run(model.val_step, data)
    model.loss_factor = 1.0
    assert len(found) == len(plain) == 3
    for one, other, loaded in zip(found, plain, before['data_samples']):
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(
                one.pred_instances[key], other.pred_instances[key]
            )
        assert one.metainfo.keys() == other.metainfo.keys()
        assert torch.equal(one.gt_instances.bboxes, loaded.gt_instances.bboxes)
    for sample, other in zip(data['data_samples'], before['data_samples']):
        assert sample.keys() == other.keys()
        assert torch.equal(
            sample.gt_instances.bboxes, other.gt_instances.bboxes
        )
    assert not model.predicts_losses
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])


def test_a_factor_of_gradients_does_not_count(model):
    data = batch(6, (2,))
    expected = expected_losses(model, data)['loss']
    losses = EvaluationLosses(model, RESIZED)
    model.loss_factor = 3.0
    with torch.no_grad():
        losses.run(model.val_step, data)
    model.loss_factor = 1.0
    assert losses.means('')['loss'] == pytest.approx(expected)


def test_samples_without_objects_are_refused(model):
    data = batch(7, (1,))
    del data['data_samples'][0].gt_instances
    with pytest.raises(InputError, match='LoadAnnotations'):
        EvaluationLosses(model, RESIZED).run(model.val_step, data)


def test_an_error_leaves_a_model_that_detects(model):
    def broken(data):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EvaluationLosses(model, RESIZED).run(broken, batch(8, (1,)))
    assert not model.predicts_losses


def test_other_detectors_are_refused():
    with pytest.raises(InputError, match='RFDETR, got Linear.*--tta'):
        EvaluationLosses(nn.Linear(1, 1), RESIZED)


def test_masks_are_loaded_for_models_with_masks(model):
    loader = Config(ORIGINAL)
    assert with_masks(model, loader) is loader
    seg = nn.Module()
    seg.bbox_head = nn.Module()
    seg.bbox_head.mask_branch = nn.Identity()
    outer = Config(dict(dataset=dict(type='Repeat', **ORIGINAL)))
    changed = with_masks(seg, outer)
    assert changed.dataset.dataset.pipeline[2].with_mask
    assert 'with_mask' not in outer.dataset.dataset.pipeline[2]


def test_masks_follow_the_image(model):
    from rfdetr_mm.datasets.truth_of_input import truth_of_input

    sample = in_original(batch(9, (2,)), (2.0, 2.0))['data_samples'][0]
    small = np.zeros((2, 32, 48), np.uint8)
    small[:, 4:8, 10:20] = 1
    sample.gt_instances.masks = BitmapMasks(small, 32, 48)
    sample.gt_instances.keypoints = torch.tensor([[[3.0, 5.0, 1.0]]] * 2)
    moved = truth_of_input(sample, in_original_pixels=True)
    assert moved.masks.masks.shape == (2, 64, 96)
    assert moved.masks.masks[0].nonzero()[0].tolist()[0] == 8
    assert moved.keypoints[0].tolist() == [[6.0, 10.0, 1.0]]
    assert sample.gt_instances.masks.masks.shape == (2, 32, 48)
