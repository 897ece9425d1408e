"""Autocast of either stack's torch."""

import pytest
import torch

from rfdetr_mm.stack import autocast


@pytest.mark.parametrize('outer', [False, True])
def test_float32_switches_it_off(outer):
    layer = torch.nn.Linear(3, 2)
    with torch.autocast('cpu', torch.bfloat16, enabled=outer):
        with autocast('cpu', torch.float32, cache_enabled=False):
            assert layer(torch.rand(1, 3)).dtype == torch.float32
        expected = torch.bfloat16 if outer else torch.float32
        assert layer(torch.rand(1, 3)).dtype == expected


def test_lower_precision():
    with autocast('cpu', torch.bfloat16):
        out = torch.nn.Linear(3, 2)(torch.rand(1, 3))
    assert out.dtype == torch.bfloat16
