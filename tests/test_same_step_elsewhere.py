"""A training step is the same by autograd alone, and on a GPU."""

import pytest
import torch

from rfdetr_mm.models.autograd import (
    relu_mlp,
    scaled_gelu_linear,
    weighted_samples,
)
from tests import small_detector

HW = (64, 96)
OWN_BACKWARDS = (relu_mlp, scaled_gelu_linear, weighted_samples)
ON_GPU = pytest.param(
    'cuda',
    marks=pytest.mark.skipif(
        not torch.cuda.is_available(), reason='there is no GPU'
    ),
)


def step(device, counts=(3, 0, 5)):
    """Losses and gradients of a step in float64."""
    model, _ = small_detector.build({'data_preprocessor.batch_augments': None})
    model.double().to(device)
    data = small_detector.batch(0, counts, HW)
    data = model.data_preprocessor(data, training=True)
    for sample in data['data_samples']:
        sample.gt_instances.bboxes = sample.gt_instances.bboxes.double()
    losses = model.loss(data['inputs'].double(), data['data_samples'])
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    return (
        {name: value.detach().cpu() for name, value in losses.items()},
        {
            name: param.grad.cpu()
            for name, param in model.named_parameters()
            if param.grad is not None
        },
    )


def assert_same(found, expected):
    for one, other in zip(found, expected):
        assert list(one) == list(other)
        for name, value in one.items():
            torch.testing.assert_close(
                value.double(),
                other[name].double(),
                rtol=1e-8,
                atol=1e-10,
                msg=lambda text, name=name: f'{name}: {text}',
            )


@pytest.fixture
def only_autograd(monkeypatch):
    for module in OWN_BACKWARDS:
        monkeypatch.setattr(module, 'has_own_backward', lambda inputs: False)


@pytest.mark.parametrize('counts', [(3, 0, 5), (0, 0)])
def test_by_autograd_alone(counts, request):
    own = step('cpu', counts)
    request.getfixturevalue('only_autograd')
    assert_same(step('cpu', counts), own)


@pytest.mark.parametrize('counts', [(3, 0, 5), (0, 0)])
@pytest.mark.parametrize('device', [ON_GPU])
def test_on_a_gpu(device, counts):
    assert_same(step(device, counts), step('cpu', counts))


@pytest.mark.needs_torch('2.3', 'own backward passes')
@pytest.mark.parametrize('module', OWN_BACKWARDS, ids=lambda m: m.__name__)
def test_a_wrong_gradient_is_noticed(module, monkeypatch):
    expected = step('cpu')
    (function,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, torch.autograd.Function)
    )
    backward = function.backward

    def wrong(ctx, grad):
        first, *others = backward(ctx, grad)
        return first * 1.001, *others

    monkeypatch.setattr(function, 'backward', staticmethod(wrong))
    with pytest.raises(AssertionError, match='grad|weight|bias|token'):
        assert_same(step('cpu'), expected)
