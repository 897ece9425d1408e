"""Synchronised batch normalisation, in one process."""

import pytest
import torch
from mmcv.ops import SyncBatchNorm

from tests.operators.golden_cases import Numbers, with_gradients


def make(kind, monkeypatch):
    """A module of four channels that is not as initialised."""
    if kind == 'mmcv':
        # It asks for a process group, which one process does not need.
        monkeypatch.setattr('torch.distributed.get_world_size', lambda *_: 1)
        monkeypatch.setattr('torch.distributed.get_rank', lambda *_: 0)
        module = SyncBatchNorm(4, eps=1e-3, momentum=0.3)
    else:
        module = torch.nn.BatchNorm2d(4, eps=1e-3, momentum=0.3)
    numbers = Numbers(1)
    module.weight.data, module.bias.data = numbers.normal(4), numbers.normal(4)
    module.running_mean.copy_(numbers.normal(4))
    return module


@pytest.mark.parametrize('shape', [(3, 4, 5, 6), (1, 4, 1, 1)])
def test_equals_torchs(monkeypatch, shape):
    if shape[0] == 1:
        shape = (1, 4, 1, 2)
    features = Numbers(0).normal(*shape)
    ours, torchs = make('mmcv', monkeypatch), make('torch', monkeypatch)
    found = with_gradients(ours, features)
    expected = with_gradients(torchs, features)
    for value, right in zip(found, expected, strict=True):
        torch.testing.assert_close(value, right, atol=1e-5, rtol=1e-5)
    for (name, value), right in zip(
        ours.named_buffers(), dict(torchs.named_buffers()).values()
    ):
        torch.testing.assert_close(value, right.to(value), msg=name)
    ours(features).square().sum().backward()
    torchs(features).square().sum().backward()
    for name in ('weight', 'bias'):
        torch.testing.assert_close(
            getattr(ours, name).grad,
            getattr(torchs, name).grad,
            atol=1e-4,
            rtol=1e-5,
        )
