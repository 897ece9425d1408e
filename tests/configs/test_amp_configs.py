"""Mixed precision: the configs, and on a CPU what does not need a GPU.

AmpOptimWrapper refuses CPUs, so its check is answered for it here.
"""

from pathlib import Path

import pytest
import torch
from half_precision import FLOAT16_ON_CPU
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper

from rfdetr_mm import processor
from rfdetr_mm.engine import AutocastOptimWrapper, WarmupEMA
from tests.small_detector import batch, build

FOLDER = Path(__file__).parents[2] / 'configs' / '_base_' / 'schedules'
KINDS = {
    'bf16': dict(type='AutocastOptimWrapper', dtype='bfloat16'),
    'fp16': dict(
        type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic'
    ),
}
COUNTS = [(2, 3), (0, 0), (0, 4)]


def schedule(kind=None):
    return Config.fromfile(
        FOLDER / f'adamw_{kind}_100e.py' if kind else FOLDER / 'adamw_100e.py'
    )


@pytest.fixture
def amp_on_cpu(monkeypatch):
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'is_cuda_available', lambda: True
    )


@pytest.mark.parametrize('kind', KINDS)
def test_only_the_wrapper_changes(kind):
    plain, amp = schedule().to_dict(), schedule(kind).to_dict()
    assert amp['optim_wrapper'] == {**plain['optim_wrapper'], **KINDS[kind]}
    assert {**amp, 'optim_wrapper': None} == {**plain, 'optim_wrapper': None}


@pytest.mark.filterwarnings('ignore:.*GradScaler is enabled')
@pytest.mark.parametrize('kind', KINDS)
def test_wrapper_is_built(amp_on_cpu, kind):
    _, wrapper = build(optim=schedule(kind).optim_wrapper)
    _, plain = build()
    if kind == 'fp16':
        assert isinstance(wrapper, AmpOptimWrapper)
        assert wrapper.cast_dtype == torch.float16
        # without a GPU there is nothing to scale
        assert not wrapper.loss_scaler.is_enabled()
    else:
        assert isinstance(wrapper, AutocastOptimWrapper)
        assert wrapper.dtype == torch.bfloat16
    assert wrapper.clip_grad_kwargs == plain.clip_grad_kwargs
    settings = [
        [(group['lr'], group['weight_decay']) for group in w.param_groups]
        for w in (wrapper, plain)
    ]
    assert settings[0] == settings[1]


def test_bf16_steps(monkeypatch):
    """Losses, gradients, weights and averages in float32, near the plain."""
    monkeypatch.setattr(processor, 'has_bf16_units', lambda: True)
    model, wrapper = build(optim=schedule('bf16').optim_wrapper)
    plain, plain_wrapper = build()
    average = WarmupEMA(model)
    dtypes, grads = set(), {}
    for name, param in model.named_parameters():
        if param.requires_grad:
            param.register_hook(lambda g, n=name: grads.update({n: g}))
    model.backbone.blocks[0].mlp.fc1.register_forward_hook(
        lambda module, args, out: dtypes.add(out.dtype)
    )
    for i, counts in enumerate(COUNTS):
        losses = model.train_step(batch(i, counts), wrapper)
        expected = plain.train_step(batch(i, counts), plain_wrapper)
        assert losses.keys() == expected.keys()
        torch.testing.assert_close(
            losses['loss'], expected['loss'], rtol=0.02, atol=1e-3
        )
        average.update_parameters(model)
    assert dtypes == {torch.bfloat16}
    for module in (model, average.module):
        for name, param in module.named_parameters():
            assert param.dtype == torch.float32, name
            assert param.isfinite().all(), name
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert set(grads) == set(trained)
    assert {grad.dtype for grad in grads.values()} == {torch.float32}


@pytest.mark.parametrize('dtype', [torch.bfloat16, FLOAT16_ON_CPU])
def test_losses_and_boxes_are_float32(dtype):
    model, _ = build()
    for seed, counts in enumerate(COUNTS):
        data = model.data_preprocessor(batch(seed, counts), True)
        plain = model(**data, mode='loss')
        with torch.autocast('cpu', dtype):
            losses = model(**data, mode='loss')
        for name in [name for name in losses if 'loss' in name]:
            assert losses[name].dtype == torch.float32, name
            torch.testing.assert_close(
                losses[name], plain[name], rtol=0.1, atol=1e-2
            )
    data = model.data_preprocessor(batch(0, (1, 1)))
    with torch.no_grad(), torch.autocast('cpu', dtype):
        results = model.eval()(**data, mode='predict')
    for result in results:
        assert result.pred_instances.bboxes.dtype == torch.float32
        assert result.pred_instances.scores.dtype == torch.float32
