"""A compiled model trains as one that is not, to the last bit where eager."""

import copy
import shutil
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from mmdet.registry import HOOKS, MODELS
from mmengine.logging import MessageHub, MMLogger

from rfdetr_mm.engine.hooks import compile_hook
from rfdetr_mm.models.autograd import recompute
from rfdetr_mm.models.data_preprocessors import multi_scale_sizes
from tests import small_detector

SIZE = dict(img_size=(64, 96), patch_size=16, num_windows=2, expanded=False)
LARGEST = multi_scale_sizes(**SIZE)[-1]
DYNAMIC_PARTS = ('bbox_head.loss_stage',)
PARTS = ('backbone', 'neck', 'bbox_head.stage', 'bbox_head.loss_stage')
# objects in the images of each step; the sizes of steps 0, 1, 2, 3 differ
STEPS = [(2, 3), (0, 0), (1, 0), (5, 4)]


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def build():
    return small_detector.build(
        {
            'data_preprocessor.batch_augments': [
                dict(type='BatchMultiScaleResize', **SIZE)
            ]
        }
    )


def train(model, wrapper, steps=STEPS):
    """Losses and clipped gradients of some steps."""
    wrapper.zero_grad = lambda: None  # so that they can be seen
    found = []
    for i, counts in enumerate(steps):
        MessageHub.get_current_instance().update_info('iter', i)
        losses = model.train_step(
            small_detector.batch(i, counts, LARGEST), wrapper
        )
        grads = {
            name: param.grad.clone()
            for name, param in model.named_parameters()
            if param.requires_grad
        }
        model.zero_grad()
        found.append(({k: v.detach() for k, v in losses.items()}, grads))
    return found


def compiled(**kwargs):
    model, wrapper = build()
    hook = HOOKS.build(dict(type='CompileHook', **kwargs))
    runner = SimpleNamespace(
        model=model, logger=MMLogger.get_current_instance()
    )
    hook.before_train(runner)
    return model, wrapper


def assert_equal_training(found, expected, **tolerance):
    assert len(found) == len(expected)
    for (losses, grads), (plain_losses, plain_grads) in zip(found, expected):
        assert losses.keys() == plain_losses.keys()
        torch.testing.assert_close(losses, plain_losses, **tolerance)
        assert grads.keys() == plain_grads.keys()
        torch.testing.assert_close(grads, plain_grads, **tolerance)


def test_the_sizes_of_the_steps_differ():
    resize = MODELS.build(dict(type='BatchMultiScaleResize', **SIZE))
    sizes = {resize.size_at(i) for i in range(len(STEPS))}
    assert len(sizes) > 1 and all(h != w for h, w in sizes)


def test_traced_parts_train_as_the_plain_ones(monkeypatch):
    """To the last bit; traced parts leave it to torch what to recompute."""
    with monkeypatch.context() as plain:
        if hasattr(torch.compiler, 'is_compiling'):  # from torch 2.3 on
            plain.setattr(recompute, 'is_compiling', lambda: True)
        expected = train(*build())
    found = train(*compiled(backend='eager'))
    assert_equal_training(found, expected, rtol=0, atol=0)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] > 0


def test_keys_and_copies_are_those_of_the_plain_model():
    (model, _), (plain, _) = compiled(backend='eager'), build()
    assert list(model.state_dict()) == list(plain.state_dict())
    average = copy.deepcopy(model)  # as EMAHook does
    assert list(average.state_dict()) == list(plain.state_dict())
    for name in PARTS:
        compiles = compile_hook.COMPILES_TRAINING or name not in DYNAMIC_PARTS
        impl = model.get_submodule(name)._compiled_call_impl
        assert (impl is not None) == compiles
        assert average.get_submodule(name)._compiled_call_impl is None


def test_only_the_named_parts_are_compiled():
    model, _ = compiled(backend='eager', parts=['neck'])
    assert model.neck._compiled_call_impl is not None
    assert model.backbone._compiled_call_impl is None


def test_an_unknown_part_is_named():
    with pytest.raises(AttributeError, match='transformer'):
        compiled(parts=['transformer'])


@pytest.mark.parametrize(
    ('compiles', 'backend', 'warns'),
    [(False, 'inductor', True), (False, 'eager', False), (True, None, False)],
)
def test_a_torch_that_makes_nan_is_named(
    monkeypatch, compiles, backend, warns
):
    monkeypatch.setattr(compile_hook, 'COMPILES_TRAINING', compiles)
    options = {} if backend is None else dict(backend=backend)
    hook = HOOKS.build(dict(type='CompileHook', parts=['neck'], **options))
    runner = SimpleNamespace(model=build()[0], logger=Mock())
    hook.before_train(runner)
    assert runner.logger.warning.called == warns


@pytest.mark.parametrize(
    'options', [dict(cuda_graphs=True), dict(backend='cudagraphs')]
)
def test_cuda_graphs_need_a_later_torch(monkeypatch, options):
    monkeypatch.setattr(torch, 'compiler', SimpleNamespace())
    with pytest.raises(RuntimeError, match='torch 2.2'):
        HOOKS.build(dict(type='CompileHook', **options))


@pytest.mark.needs_torch('2.2', 'CUDA graphs of compiled parts')
def test_recording_alone_leaves_the_losses_out(monkeypatch):
    seen = []
    monkeypatch.setattr(
        torch.nn.Module, 'compile', lambda self, **kwargs: seen.append(kwargs)
    )
    hook = HOOKS.build(dict(type='CompileHook', backend='cudagraphs'))
    hook.before_train(SimpleNamespace(model=build()[0], logger=Mock()))
    assert seen == [dict(backend='cudagraphs')] * 3
    assert hook.cuda_graphs


@pytest.mark.needs_torch('2.2', 'CUDA graphs of compiled parts')
@pytest.mark.parametrize('cuda_graphs', [False, True])
def test_cuda_graphs_are_asked_for_and_every_step_is_marked(
    monkeypatch, cuda_graphs
):
    seen, steps = [], []
    monkeypatch.setattr(
        torch.nn.Module, 'compile', lambda self, **kwargs: seen.append(kwargs)
    )
    monkeypatch.setattr(
        torch.compiler,
        'cudagraph_mark_step_begin',
        lambda: steps.append(True),
    )
    hook = HOOKS.build(
        dict(
            type='CompileHook',
            cuda_graphs=cuda_graphs,
            parts=['neck', 'bbox_head.loss_stage'],
            options={'max_autotune': True},
        )
    )
    runner = SimpleNamespace(model=build()[0], logger=Mock())
    hook.before_train(runner)
    for i in range(3):
        hook.before_train_iter(runner, i, data_batch=None)
    network, losses = {'max_autotune': True}, {'max_autotune': True}
    if cuda_graphs:
        network['triton.cudagraphs'] = True
        losses['triton.cudagraphs'] = False  # of any number of objects
    assert seen == [
        dict(options=network),
        dict(options=losses, dynamic=True),
    ]
    assert len(steps) == (3 if cuda_graphs else 0)


@pytest.mark.slow
@pytest.mark.needs_torch('2.2', 'compiled training')
@pytest.mark.skipif(
    not shutil.which('g++'), reason='inductor needs a C++ compiler'
)
def test_inductor_trains_as_the_plain_model():
    expected = train(*build(), STEPS[:3])
    found = train(*compiled(), STEPS[:3])
    assert_equal_training(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.needs_torch('2.2', 'compiled training')
def test_mmengines_option_trains_as_the_plain_model():
    """``cfg.compile``: the whole training step, with graph breaks."""
    expected = train(*build())
    model, wrapper = build()
    model.train_step = torch.compile(model.train_step, backend='eager')
    assert_equal_training(
        train(model, wrapper), expected, rtol=1e-4, atol=1e-6
    )
