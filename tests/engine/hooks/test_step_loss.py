import warnings

import pytest
import torch

from rfdetr_mm.engine.hooks.step_loss import step_loss


@pytest.mark.parametrize(
    'outputs, expected',
    [
        (None, None),
        ({}, None),
        ({'loss_cls': 1.0}, None),
        ({'loss': 2.5}, 2.5),
        ({'loss': torch.tensor(2.5)}, 2.5),
        ({'loss': torch.tensor(1.25, requires_grad=True) * 2}, 2.5),
    ],
    ids=str,
)
def test_what_a_step_tells(outputs, expected):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert step_loss(outputs) == expected
