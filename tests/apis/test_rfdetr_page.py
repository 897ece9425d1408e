"""The page of rfdetr's classes beyond prediction and training."""

import numpy as np
import pytest
import torch

from rfdetr_mm.apis import RFDETRNano, RFDETRTiny
from rfdetr_mm.apis.model_config import fill_in_model, make_model_config
from rfdetr_mm.apis.recipe import fill_in_training
from rfdetr_mm.apis.train_config import make_train_config
from rfdetr_mm.errors import InputError
from rfdetr_mm.sizes.shipped import read_config_of
from rfdetr_mm_light.sizes import SIZES

pytest.importorskip('supervision')

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)


def make(**given):
    torch.manual_seed(0)
    options = dict(pretrain_weights=None, device='cpu', resolution=64)
    return RFDETRTiny(**options, num_queries=9, num_classes=3, **given)


def config_of(name, model=(), **given):
    cfg = read_config_of(SIZES[name])
    options = dict(model, num_classes=3, device='cpu')
    if 'Keypoint' in name:
        options['num_keypoints_per_class'] = [17, 0, 2]
    config = make_model_config(SIZES[name], options)
    fill_in_model(cfg, config)
    train = make_train_config(dict(given, dataset_dir='data'), 'train()')
    fill_in_training(cfg, SIZES[name], config, train)
    return cfg


def test_unknown_arguments_of_predict_are_ignored_with_a_warning():
    model = make()
    model.optimize_for_inference(compile=False)
    expected = model.predict(IMAGE, threshold=0.0)
    with pytest.warns(UserWarning, match="'treshold'.*did you mean thresh"):
        found = model.predict(IMAGE, threshold=0.0, treshold=0.9)
    assert np.array_equal(found.xyxy, expected.xyxy)


def test_in_place():
    model = make()
    expected = model.predict(IMAGE, threshold=0.0)
    assert not model.is_optimized_inplace
    with pytest.raises(InputError, match='compile=False as well'):
        model.inference(inplace=True)
    before = model.model.model
    model.inference(compile=False, inplace=True)
    assert model.is_optimized_inplace and model.model.model is None
    assert model.model.inference_model.network.backbone is before.backbone
    found = model.predict(IMAGE, threshold=0.0)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=1e-3)
    with pytest.warns(UserWarning, match='no other one to go back to'):
        model.remove_optimized_model()
    assert len(model.predict(IMAGE, threshold=0.0)) == len(found)
    for call in (
        lambda: model.inference(),
        lambda: model.export(),
        lambda: model.train(dataset_dir='x'),
        lambda: model.evaluate(dataset_dir='x'),
        lambda: model.export_for_roboflow('x'),
        lambda: model.deploy_to_roboflow('a', 'b'),
        lambda: model.model.reinitialize_detection_head(4),
    ):
        with pytest.raises(RuntimeError, match='has used the model up'):
            call()


def test_other_classes():
    model = make()
    rows = model.model.model.bbox_head.cls_branch.weight.clone()
    model.optimize_for_inference(compile=False)
    model.model.reinitialize_detection_head(5)
    assert model.model_config.num_classes == len(model.class_names) == 5
    assert model.model.inference_model is None
    new = model.model.model.bbox_head.cls_branch.weight
    assert torch.equal(new[:3], rows) and torch.equal(new[3:], rows[:2])
    assert model.predict(IMAGE, threshold=0.0).class_id.max() < 5
    with pytest.raises(InputError, match='num_classes must be a positive'):
        model.model.reinitialize_detection_head(0)


def test_log_level(monkeypatch):
    assert config_of('RFDETRNano').log_level == 'INFO'
    monkeypatch.setenv('LOG_LEVEL', 'warning')
    assert config_of('RFDETRNano').log_level == 'WARNING'
    monkeypatch.setenv('LOG_LEVEL', 'loud')
    assert config_of('RFDETRNano').log_level == 'INFO'


def test_fields_that_training_reads():
    cfg = config_of('RFDETRNano', dict(fused_optimizer=False))
    assert 'fused' not in cfg.optim_wrapper.optimizer
    with pytest.warns(FutureWarning, match='amp of a model is deprecated'):
        config_of('RFDETRNano', dict(amp=False))
    cfg = config_of('RFDETRKeypointPreview', dict(postprocess_trace_alpha=1))
    assert cfg.model.test_cfg.trace_alpha == 1.0
    for bad in (-1, 'a', True, float('nan')):
        with pytest.raises(InputError, match='trace_alpha must be a number'):
            RFDETRNano.get_model_config(postprocess_trace_alpha=bad)


def test_masks_have_their_weights():
    cfg = config_of(
        'RFDETRSegNano',
        mask_ce_loss_coef=2.0,
        mask_dice_loss_coef=0.5,
        mask_point_sample_ratio=8,
    )
    head = cfg.model.bbox_head
    assert (head.loss_mask.loss_weight, head.loss_dice.loss_weight) == (2, 0.5)
    costs = {
        c.type: c.weight for c in cfg.model.train_cfg.assigner.match_costs
    }
    assert costs['CrossEntropyLossCost'] == 2.0
    assert costs['DiceCost'] == 0.5
    assert cfg.model.train_cfg.cells_per_point == 8
    with pytest.raises(InputError, match='mask_ce_loss_coef.*no masks'):
        config_of('RFDETRNano', mask_ce_loss_coef=2.0)


def test_keypoints_are_evaluated_on_20_detections():
    with pytest.raises(InputError, match='are for boxes and masks'):
        config_of('RFDETRKeypointPreview', eval_max_dets=500)
