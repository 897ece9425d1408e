"""Exported ONNX files compute what PyTorch computes."""

import json

import numpy as np
import onnx
import pytest
import torch
from small_export import (
    CLASSES,
    HW,
    NUM_CLASSES,
    NUM_QUERIES,
    build,
    config,
    export_to,
    images,
    predict,
    run,
)

from rfdetr_mm.deploy.export import deploy_config, export, image_size
from rfdetr_mm.errors import InputError

# Of the issue: boxes in px and scores
BOX_PX, SCORE = 0.05, 1e-3


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Models with masks or without, exported once for each layout."""
    known = {}

    def get(seg, layout='end2end'):
        if (seg, layout) not in known:
            cfg = config(seg)
            model = build(cfg)
            file, _ = export_to(
                tmp_path_factory.mktemp('exported'),
                cfg,
                model,
                layout=layout,
                dynamic_batch=layout == 'end2end',
            )
            known[seg, layout] = cfg, model, file
        return known[seg, layout]

    return get


@pytest.mark.parametrize('seg', [False, True], ids=['boxes', 'masks'])
def test_any_batch_equals_pytorch(exported, seg):
    _, model, file = exported(seg)
    compare(model, file, seg)


@pytest.mark.slow
@pytest.mark.parametrize(
    'backbone',
    [
        dict(num_windows=1, num_registers=2),
        dict(global_attn_indices=()),
    ],
    ids=['no windows, registers', 'local only'],
)
@pytest.mark.parametrize('seg', [False, True], ids=['boxes', 'masks'])
def test_other_backbones(tmp_path, seg, backbone):
    cfg = config(seg, **backbone)
    model = build(cfg)
    file, _ = export_to(tmp_path, cfg, model, dynamic_batch=True)
    compare(model, file, seg)


def compare(model, file, seg):
    for bs in (1, 3, 8):
        x = images(bs)
        found = run(file, x)
        for i, expected in enumerate(predict(model, x)):
            dets, labels = found['dets'][i], found['labels'][i]
            assert np.abs(dets[:, :4] - expected.bboxes.numpy()).max() < BOX_PX
            assert np.abs(dets[:, 4] - expected.scores.numpy()).max() < SCORE
            assert labels.tolist() == expected.labels.tolist()
            if seg:
                # At this size nothing is left to resize but a factor of 4.
                masks = torch.nn.functional.interpolate(
                    torch.tensor(found['masks'][i : i + 1]),
                    size=HW,
                    mode='bilinear',
                )
                assert (masks[0] > 0).equal(expected.masks)


@pytest.mark.parametrize('seg', [False, True], ids=['boxes', 'masks'])
def test_raw_layout_is_upstreams(exported, seg):
    _, model, file = exported(seg, 'raw')
    x = images()
    found = run(file, x)
    with torch.no_grad():
        expected = [output[-1].numpy() for output in model(x, mode='tensor')]
    names = ['dets', 'labels', 'masks'] if seg else ['dets', 'labels']
    assert list(found) == names
    scores, boxes, *masks = expected
    np.testing.assert_allclose(found['dets'], boxes, atol=1e-5)
    # One spare row for an object of no class, as rfdetr trains it
    assert found['labels'].shape == (1, NUM_QUERIES, NUM_CLASSES + 1)
    np.testing.assert_allclose(found['labels'][..., :-1], scores, atol=1e-4)
    np.testing.assert_array_equal(found['labels'][..., -1], -20)
    if seg:
        np.testing.assert_allclose(found['masks'], masks[0], atol=1e-3)


@pytest.mark.slow
def test_raw_layout_of_coco_has_91_rows(tmp_path):
    cfg = config()
    cfg.model.bbox_head.num_classes = 80
    model = build(cfg)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'coco.pth')
    deploy_cfg = deploy_config(
        'detection', 'onnxruntime', input_size=HW, layout='raw'
    )
    (file,) = export(cfg, tmp_path / 'coco.pth', deploy_cfg, tmp_path)
    labels = run(file, images())['labels']
    assert labels.shape == (1, NUM_QUERIES, 91)
    with torch.no_grad():
        scores = model(images(), mode='tensor')[0][-1]
    # 'person' is category 1, the 80th class category 90.
    np.testing.assert_allclose(labels[..., 1], scores[..., 0], atol=1e-4)
    np.testing.assert_allclose(labels[..., 90], scores[..., 79], atol=1e-4)
    assert (labels[..., 0] == -20).all()


@pytest.mark.slow
def test_backbone_only(tmp_path):
    cfg = config()
    model = build(cfg)
    deploy_cfg = deploy_config(
        'detection', 'onnxruntime', input_size=HW, backbone_only=True
    )
    assert deploy_cfg.onnx_config.output_names == ['features']
    file, _ = export_to(tmp_path, cfg, model, backbone_only=True)
    found = run(file, images())
    with torch.no_grad():
        (expected,) = model.extract_feat(images())
    assert list(found) == ['features']
    np.testing.assert_allclose(found['features'], expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('pose', [False, True])
def test_two_maps(tmp_path, pose):
    """Of two levels, or one for the instances and one for keypoints."""
    cfg = config(pose=pose)
    if not pose:
        cfg.model.neck.scale_factors = (2.0, 0.5)
        cfg.model.bbox_head.decoder.num_levels = 2
    model = build(cfg)
    file, _ = export_to(tmp_path, cfg, model, backbone_only=True)
    found = run(file, images())
    with torch.no_grad():
        expected = model.extract_feat(images())
    assert list(found) == ['features_0', 'features_1']
    for maps, wanted in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(maps, wanted, atol=1e-4)


@pytest.mark.slow
def test_two_levels(tmp_path):
    cfg = config()
    cfg.model.neck.scale_factors = (2.0, 0.5)
    cfg.model.bbox_head.decoder.num_levels = 2
    model = build(cfg)
    file, _ = export_to(tmp_path, cfg, model, layout='raw')
    found = run(file, images())
    with torch.no_grad():
        scores, boxes = model(images(), mode='tensor')
    np.testing.assert_allclose(found['dets'], boxes[-1], atol=1e-5)
    np.testing.assert_allclose(
        found['labels'][..., :-1], scores[-1], atol=1e-4
    )


@pytest.mark.slow
def test_border_cells_of_a_wide_grid(tmp_path):
    """Proposals at the border are invalid from 50 cells on."""
    cfg = config(patch_size=4, num_windows=2, img_size=16)
    model = build(cfg)
    hw = (16, 208)
    file, _ = export_to(tmp_path, cfg, model, input_size=hw, layout='raw')
    with torch.no_grad():
        _, boxes = model(images(hw=hw), mode='tensor')
    found = run(file, images(hw=hw))
    np.testing.assert_allclose(found['dets'], boxes[-1], atol=1e-5)


@pytest.mark.slow
def test_more_queries_than_cells(tmp_path):
    cfg = config()
    model = build(cfg)
    hw = (32, 64)  # 2 x 4 cells
    cfg.model.bbox_head.num_queries = 20
    model = build(cfg)
    file, _ = export_to(tmp_path, cfg, model, input_size=hw, layout='raw')
    assert run(file, images(hw=hw))['dets'].shape == (1, 8, 4)


def test_other_weights_are_noticed(exported):
    """The negative control: a changed weight is beyond the limits."""
    cfg, _, file = exported(False)
    model = build(cfg)
    with torch.no_grad():
        model.backbone.blocks[1].mlp.fc2.weight.mul_(1.05)
    found = run(file, images())['dets'][0]
    (expected,) = predict(model, images())
    box = np.abs(found[:, :4] - expected.bboxes.numpy()).max()
    score = np.abs(found[:, 4] - expected.scores.numpy()).max()
    assert box > BOX_PX or score > SCORE


def test_the_graph_is_small_and_standard(exported):
    _, _, file = exported(False)
    proto = onnx.load(file)
    onnx.checker.check_model(proto)
    operators = {node.op_type for node in proto.graph.node}
    assert {node.domain for node in proto.graph.node} <= {'', 'ai.onnx'}
    assert {'GridSample', 'LayerNormalization', 'TopK'} <= operators
    # Nothing that computes sizes while the model runs
    assert not operators & {'Shape', 'Expand', 'ConstantOfShape', 'Range'}
    assert proto.opset_import[0].version == 17


def test_metadata(exported):
    cfg, _, file = exported(False)
    facts = {p.key: p.value for p in onnx.load(file).metadata_props}
    assert json.loads(facts['class_names']) == list(CLASSES)
    assert json.loads(facts['resolution']) == list(HW)
    mean = cfg.model.data_preprocessor.mean
    np.testing.assert_allclose(json.loads(facts['mean']), mean)
    assert facts['layout'] == 'end2end'
    assert facts['rfdetr_mm_version']


@pytest.mark.slow
def test_fixed_batch_size(tmp_path):
    cfg = config()
    model = build(cfg)
    file, _ = export_to(tmp_path, cfg, model, batch_size=2)
    assert run(file, images(2))['dets'].shape == (2, 10, 5)


def test_image_size_is_the_test_pipelines():
    cfg = config()
    deploy_cfg = deploy_config('detection', 'onnxruntime')
    assert image_size(cfg, deploy_cfg) == (384, 384)
    deploy_cfg.onnx_config.input_shape = (96, 64)  # W, H
    assert image_size(cfg, deploy_cfg) == (64, 96)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(task='tracking'), 'task must be one of'),
        (dict(layout='nms'), 'layout must be one of'),
        (dict(backend='abacus'), 'no deploy config detection_abacus_static'),
        (dict(precision='int3'), 'detection_onnxruntime-int3_static'),
    ],
)
def test_unknown_deploy_config(options, message):
    options = {'task': 'detection', 'backend': 'onnxruntime', **options}
    with pytest.raises(InputError, match=message):
        deploy_config(**options)


def refused(tmp_path, cfg, deploy_cfg):
    """The message, after making sure that no file was written."""
    torch.save(build(cfg).state_dict(), tmp_path / 'weights.pth')
    with pytest.raises(InputError) as error:
        export(cfg, tmp_path / 'weights.pth', deploy_cfg, tmp_path / 'out')
    assert not list(tmp_path.glob('out/*'))
    return str(error.value)


def test_size_that_does_not_divide(tmp_path):
    deploy_cfg = deploy_config('detection', 'onnxruntime', input_size=(64, 80))
    message = refused(tmp_path, config(), deploy_cfg)
    assert '16 * 2 = 32' in message and '80 = 2 * 32 + 16' in message
    assert 'sizes are 64 x 64' in message


@pytest.mark.parametrize('seg', [False, True], ids=['boxes', 'masks'])
def test_deploy_config_of_the_other_task(tmp_path, seg):
    task = 'detection' if seg else 'instance-seg'
    deploy_cfg = deploy_config(task, 'onnxruntime', input_size=HW)
    message = refused(tmp_path, config(seg), deploy_cfg)
    wanted = 'instance-seg' if seg else 'detection'
    assert f'use a deploy config of configs/deploy/{wanted}' in message


def test_dynamic_height_is_refused(tmp_path):
    deploy_cfg = deploy_config(
        'detection', 'onnxruntime', input_size=HW, dynamic_batch=True
    )
    deploy_cfg.onnx_config.dynamic_axes['input'][2] = 'height'
    message = refused(tmp_path, config(), deploy_cfg)
    assert 'only the batch can be dynamic' in message


def test_old_operator_set_is_refused(tmp_path):
    deploy_cfg = deploy_config(
        'detection', 'onnxruntime', input_size=HW, opset=16
    )
    message = refused(tmp_path, config(), deploy_cfg)
    assert 'operator set 17 or later' in message and '16' in message


def test_an_older_file_survives_a_failure(tmp_path, monkeypatch):
    from rfdetr_mm.deploy import onnx_file

    cfg = config()
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'end2end.onnx').write_bytes(b'older')

    def fail(proto):
        raise RuntimeError('on purpose')

    monkeypatch.setattr(onnx_file, 'check_operators', fail)
    with pytest.raises(RuntimeError, match='on purpose'):
        export_to(tmp_path, cfg, build(cfg))
    (left,) = (tmp_path / 'out').iterdir()
    assert left.read_bytes() == b'older'
