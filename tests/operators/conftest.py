"""mmcv's operators with what stands in for its extension, always."""

import sys

import mmcv.ops
import numpy as np
import pytest
import torch

from rfdetr_mm.operators import extension
from tests.operators.golden_cases import FILES, REFRESH, TABLES

# Sums in another order: of 18 to 72 products of numbers of about 1.
TOLERANCES = {
    torch.float32: dict(atol=1e-5, rtol=1e-5),
    torch.float64: dict(atol=1e-12, rtol=1e-12),
}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """Also where mmcv is compiled, so that the same code is tested."""
    for name, module in list(sys.modules.items()):
        if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module'):
            monkeypatch.setattr(module, 'ext_module', extension)
    return extension


@pytest.fixture
def ops():
    return mmcv.ops


@pytest.fixture
def agrees_with_compiled():
    """Compare a case with the golden file of its table."""

    def compare(table, name):
        file = np.load(FILES / f'{table}.npz')
        expected = [
            torch.from_numpy(file[key])
            for key in file.files
            if key.rpartition('/')[0] == name
        ]
        found = TABLES[table]()[name]()
        assert len(found) == len(expected) > 0, f'run {REFRESH}'
        for value, right in zip(found, expected, strict=True):
            torch.testing.assert_close(
                value, right, **TOLERANCES.get(value.dtype, {})
            )

    return compare
