"""What is packed into the shipped file, and that it loads as a whole one."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from rfdetr_mm.checkpoints import read_checkpoint, write_checkpoint

from .conftest import DEMO


@pytest.fixture
def pretrain(demo):
    return demo('pretrain')


@pytest.fixture
def model_and_cfg():
    path = 'configs/rfdetr/rfdetr_tiny_pretraining-shapes.py'
    cfg = Config.fromfile(DEMO.parent / path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg.model), cfg


def test_a_packed_file_is_small_and_complete(
    pretrain, model_and_cfg, tmp_path
):
    model, cfg = model_and_cfg
    state = model.state_dict()
    packed = pretrain.pack(dict(state_dict=state), cfg)
    path = tmp_path / 'packed.pth'
    write_checkpoint(packed, path)
    trained = sum(
        weight.numel()
        for name, weight in state.items()
        if not name.startswith(
            tuple(f'backbone.blocks.{i}.' for i in range(4, 12))
        )
    )
    size = path.stat().st_size
    assert 2 * trained < size < 2 * trained + 150_000 < 7_000_000
    content = read_checkpoint(path)
    assert content['meta']['dataset_meta']['classes'] == cfg.metainfo.classes
    loaded = content['state_dict']
    assert {k: v.shape for k, v in loaded.items()} == {
        k: v.shape for k, v in state.items()
    }
    model.load_state_dict(loaded)
    for name in ('backbone.blocks.3.mlp.fc1.weight', 'neck.norms.0.weight'):
        assert torch.equal(loaded[name], state[name].half())
    assert not loaded['backbone.blocks.4.mlp.fc1.weight'].any()


def test_no_path_of_the_machine_is_packed(pretrain, model_and_cfg):
    _, cfg = model_and_cfg
    packed = pretrain.pack(dict(state_dict={}), cfg)
    assert str(DEMO.parent) not in packed['meta']['cfg']


def test_the_rounds_are_one_training(pretrain):
    """The second and the third put more weight on the classes."""
    assert pretrain.CONFIGS[1] == pretrain.CONFIGS[2]
    first, second, _ = (Config.fromfile(path) for path in pretrain.CONFIGS)
    weight = second.model.bbox_head.loss_cls.pop('loss_weight')
    assert weight > first.model.bbox_head.loss_cls.pop('loss_weight')
    assert first.model == second.model
    assert first.train_dataloader == second.train_dataloader


def test_the_model_is_that_of_the_demo(pretrain):
    first = Config.fromfile(pretrain.CONFIGS[0]).model
    for name in ('tiny_shapes', 'tiny_shapes-probe', 'tiny_custom'):
        cfg = Config.fromfile(pretrain.CONFIGS[0].parent / f'rfdetr_{name}.py')
        assert cfg.load_from == 'rfdetr://rf-detr-tiny-shapes.pth'
        other = cfg.model
        for model in (first, other):
            model.bbox_head.pop('loss_cls', None)
            model.bbox_head.num_classes = 1
            model.backbone.pop('frozen_stages', None)
        assert other == first, name
