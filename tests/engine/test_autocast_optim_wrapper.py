"""Mixed precision without a loss scale: dtypes, clipping, the logged norm."""

import pytest
import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import nn

from rfdetr_mm import processor

MAX_NORM = 0.1


@pytest.fixture(autouse=True)
def units(monkeypatch):
    """A processor that computes in bfloat16, whatever this one does."""
    monkeypatch.setattr(processor, 'has_bf16_units', lambda: True)


@pytest.fixture(autouse=True)
def own_message_hub():
    MessageHub.get_instance('autocast_optim_wrapper')
    yield
    MessageHub._instance_dict.pop('autocast_optim_wrapper')


def make(wrapper_type='AutocastOptimWrapper', **kwargs):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type=wrapper_type,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
            clip_grad=dict(max_norm=MAX_NORM),
            **kwargs,
        )
    )
    return model, wrapper


def step(model, wrapper, seed):
    """Dtype of the outputs."""
    generator = torch.Generator().manual_seed(seed)
    with wrapper.optim_context(model):
        out = model(torch.randn(5, 3, generator=generator))
        loss = out.float().square().sum()
    wrapper.update_params(loss)
    return out.dtype


def logged():
    hub = MessageHub.get_current_instance()
    history = hub.log_scalars.get('train/grad_norm')
    return [] if history is None else list(history._log_history)


@pytest.mark.parametrize(
    ('dtype', 'expected'),
    [('bfloat16', torch.bfloat16), ('float32', torch.float32)],
)
def test_dtypes(dtype, expected):
    model, wrapper = make(dtype=dtype)
    assert step(model, wrapper, 0) == expected
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model(torch.zeros(1, 3)).dtype == torch.float32  # outside


def test_float32_on_a_processor_without_units(monkeypatch, recwarn):
    monkeypatch.setattr(processor, 'has_bf16_units', lambda: False)
    model, wrapper = make()
    assert [step(model, wrapper, seed) for seed in (0, 1)] == [
        torch.float32,
        torch.float32,
    ]
    (warning,) = recwarn.list
    assert 'no units for bfloat16' in str(warning.message)


def test_float32_steps_are_those_of_mmengines_wrapper():
    model, wrapper = make(dtype='float32')
    plain, plain_wrapper = make('OptimWrapper')
    assert type(plain_wrapper) is OptimWrapper
    for seed in range(3):
        step(model, wrapper, seed)
        ours = logged()
        step(plain, plain_wrapper, seed)
    for mine, other in zip(model.parameters(), plain.parameters()):
        assert torch.equal(mine, other)
    assert ours


def test_the_norm_is_logged_one_step_later():
    model, wrapper = make(dtype='float32')
    norms = []
    for seed in range(3):
        assert len(logged()) == seed - 1 if seed else not logged()
        clip = wrapper.clip_func
        wrapper.clip_func = (
            lambda *a, f=clip, **k: norms.append(f(*a, **k)) or norms[-1]
        )
        step(model, wrapper, seed)
        wrapper.clip_func = clip
    assert logged() == [float(norm) for norm in norms[:2]]
    assert all(norm > MAX_NORM for norm in norms)


def test_gradients_are_clipped():
    model, wrapper = make()
    before = [p.detach().clone() for p in model.parameters()]
    step(model, wrapper, 0)
    moved = [p - old for p, old in zip(model.parameters(), before)]
    length = torch.stack([x.norm() for x in moved]).norm()
    torch.testing.assert_close(length, torch.tensor(0.5 * MAX_NORM))


def test_gradients_of_several_steps_add_up():
    model, wrapper = make(dtype='float32', accumulative_counts=2)
    start = [p.detach().clone() for p in model.parameters()]
    step(model, wrapper, 0)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), start))
    step(model, wrapper, 1)
    assert not torch.equal(next(model.parameters()), start[0])


def test_float16_is_refused():
    with pytest.raises(ValueError, match="'float16'.*AmpOptimWrapper"):
        make(dtype='float16')
