"""Steps of the real model in miniature, with the shipped optimizer."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData

from tests.test_architecture import ROOT

SIZE_HW = (64, 96)


@pytest.fixture(scope='module')
def cfg():
    cfg = Config.fromfile(ROOT / 'configs/rfdetr/rfdetr_nano_coco.py')
    cfg.model.backbone.update(arch='tiny', img_size=64)
    cfg.model.neck.update(in_channels=[192] * 4, out_channels=64)
    cfg.model.bbox_head.update(
        num_classes=3, num_queries=6, num_groups=2, embed_dims=64
    )
    cfg.model.bbox_head.decoder.update(num_layers=1, feedforward_channels=64)
    cfg.model.test_cfg.max_per_img = 6
    return cfg


def build(cfg, dtype=torch.float64, **backbone):
    model = copy.deepcopy(cfg.model)
    model.backbone.update(backbone)
    torch.manual_seed(0)
    model = MODELS.build(model).to(dtype).train()
    for param in model.parameters():
        param.data.add_(torch.randn_like(param), alpha=0.02)
    return model


def batch(seed, counts, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    height, width = SIZE_HW
    images = torch.randn(
        len(counts), 3, height, width, generator=generator, dtype=dtype
    )
    samples = []
    for count in counts:
        corners = torch.rand(count, 2, 2, generator=generator, dtype=dtype)
        corners = corners.sort(dim=1).values * torch.tensor([width, height])
        sample = DetDataSample(
            metainfo=dict(batch_input_shape=SIZE_HW, img_shape=SIZE_HW)
        )
        sample.gt_instances = InstanceData(
            bboxes=corners.flatten(1).to(dtype),
            labels=torch.randint(3, (count,), generator=generator),
        )
        samples.append(sample)
    return images, samples


def loss_of(model, inputs):
    losses = model(*inputs, mode='loss')
    return model.parse_losses(losses)[0]


def gradients(model):
    return {
        name: param.grad.clone()
        for name, param in model.named_parameters()
        if param.grad is not None
    }


def before_each_step(optimizer, act):
    """Torch 2.1 forgets the hooks of optimizers once it has compiled."""
    step = optimizer.step

    def act_and_step(*args, **kwargs):
        act()
        return step(*args, **kwargs)

    optimizer.step = act_and_step


def test_accumulated_gradients_are_the_mean_over_batches(cfg):
    """As in Lightning: each batch is normalised by its own boxes."""
    batches = [batch(1, (3, 0)), batch(2, (1, 7)), batch(3, (0, 0))]
    model = build(cfg)
    alone = []
    for inputs in batches:
        model.zero_grad()
        loss_of(model, inputs).backward()
        alone.append(gradients(model))
    options = copy.deepcopy(cfg.optim_wrapper)
    wrapper = build_optim_wrapper(model, dict(options, accumulative_counts=3))
    wrapper.initialize_count_status(model, 0, 6)
    seen = []
    before_each_step(wrapper.optimizer, lambda: seen.append(gradients(model)))
    wrapper.clip_grad_kwargs = None
    wrapper.zero_grad()
    for inputs in batches:
        wrapper.update_params(loss_of(model, inputs))
    (found,) = seen
    assert max(grad.abs().max() for grad in found.values()) > 0.1
    assert found.keys() == alone[0].keys()
    for name in found:
        expected = sum(grads[name] for grads in alone) / 3
        error = (found[name] - expected).abs().max()
        assert error < 1e-8, name


def test_clipping_is_by_the_norm_over_all_groups(cfg):
    model = build(cfg)
    wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    norms = []
    before_each_step(
        wrapper.optimizer,
        lambda: norms.append(
            torch.stack([g.norm() for g in gradients(model).values()]).norm()
        ),
    )
    wrapper.update_params(100 * loss_of(model, batch(1, (3, 2))))
    assert norms[0].item() == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize('stages', [-1, 12])
def test_a_frozen_backbone_stays_as_it_is(cfg, stages):
    model = build(cfg, frozen_stages=stages)
    before = copy.deepcopy(model.state_dict())
    wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    for seed in range(2):
        wrapper.update_params(loss_of(model, batch(seed, (3, 2))))
    moved = {
        name
        for name, value in model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    in_backbone = {n for n in moved if n.startswith('backbone')}
    assert bool(in_backbone) == (stages < 0)
    assert 'neck.fusions.0.reduce.conv.weight' in moved
    names = {param: name for name, param in model.named_parameters()}
    with_state = {names[param] for param in wrapper.optimizer.state}
    assert moved <= with_state
    if stages == 12:
        assert not [n for n in with_state if n.startswith('backbone')]


def test_recomputed_blocks_have_the_same_gradients(cfg):
    found = []
    for with_cp in (False, True):
        model = build(cfg, with_cp=with_cp, drop_path_rate=0.3)
        torch.manual_seed(4)  # drop path draws again what it drew
        loss_of(model, batch(1, (3, 2))).backward()
        found.append(gradients(model))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=0, atol=1e-12)


def test_a_step_in_bfloat16(cfg):
    model = build(cfg, torch.float32)
    wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    inputs = batch(1, (3, 0), torch.float32)
    exact = loss_of(model, inputs).item()
    with torch.autocast('cpu', torch.bfloat16):
        loss = loss_of(model, inputs)
    assert loss.item() == pytest.approx(exact, rel=0.1)
    assert loss.item() != exact
    wrapper.update_params(loss)
    for name, param in model.named_parameters():
        assert torch.isfinite(param).all(), name
        assert param.dtype == torch.float32
