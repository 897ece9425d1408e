"""Weights are not drawn here, and are drawn everywhere else."""

import threading

import pytest
import torch
from torch import nn

from rfdetr_mm.apis.no_random_weights import RANDOM, no_random_weights


def filled(value):
    return torch.full((4, 4), value)


@pytest.mark.parametrize('name', RANDOM)
def test_nothing_is_drawn(name):
    with no_random_weights():
        weight = filled(7.0)
        assert getattr(nn.init, name)(weight) is weight
        assert torch.equal(weight, filled(7.0))
    getattr(nn.init, name)(weight)
    assert not torch.equal(weight, filled(7.0))


def test_constants_are_set():
    with no_random_weights():
        layer = nn.LayerNorm(4)
    assert layer.weight.tolist() == [1.0] * 4 and not layer.bias.any()


def test_other_threads_draw():
    weights = {}

    def build():
        weights['other'] = nn.init.normal_(filled(7.0))

    with no_random_weights():
        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
        weights['own'] = nn.init.normal_(filled(7.0))
    assert torch.equal(weights['own'], filled(7.0))
    assert not torch.equal(weights['other'], filled(7.0))


def test_everything_is_as_before_after_an_error():
    before = [getattr(nn.init, name) for name in RANDOM]
    with pytest.raises(RuntimeError), no_random_weights():
        raise RuntimeError
    assert [getattr(nn.init, name) for name in RANDOM] == before
