"""A parameter of tests that compute in half precision."""

import pytest
import torch

FLOAT16_ON_CPU = pytest.param(
    torch.float16, marks=pytest.mark.needs_torch('2.3', 'float16 on a CPU')
)
