"""What an adapting module loads, and what it refuses."""

import pytest
import torch
from mmengine.model import BaseModule
from torch import nn

from rfdetr_mm.errors import InputError
from rfdetr_mm.models.loading.state_dict_check import AdaptingModule


class Part(AdaptingModule, BaseModule):
    """It calls ``rows`` what files call ``old``."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(2, 3))
        self.bias = nn.Parameter(torch.zeros(3))

    def adapt_state_dict(self, state_dict: dict, prefix: str = '') -> None:
        if f'{prefix}old' in state_dict:
            state_dict[f'{prefix}rows'] = state_dict.pop(f'{prefix}old')


@pytest.fixture
def model():
    return nn.ModuleDict(dict(part=Part(), other=nn.Linear(2, 2)))


def test_adapts_before_it_loads(model):
    weights = model.state_dict()
    weights['part.old'] = torch.ones(2, 3)
    del weights['part.rows']
    model.load_state_dict(weights)
    assert (model['part'].rows == 1).all()


@pytest.mark.parametrize(
    ('key', 'shape', 'named'),
    [
        ('part.rows', (3, 2), r'part\.rows is \(3, 2\)'),
        ('part.old', (2, 4), r'part\.rows is \(2, 4\)'),
        ('part.bias', (0,), r'part\.bias is \(0,\)'),
    ],
)
@pytest.mark.parametrize('strict', [True, False])
def test_refuses_other_shapes_and_loads_nothing(
    model, key, shape, named, strict
):
    weights = dict(model.state_dict(), **{key: torch.ones(shape)})
    with pytest.raises(InputError, match=rf'this Part.*\n.*{named}'):
        model.load_state_dict(weights, strict=strict)
    assert not model['part'].rows.any()


@pytest.mark.parametrize('missing', ['part.rows', 'part.bias'])
def test_missing_and_unknown_keys_are_left_to_strict(model, missing):
    weights = dict(model.state_dict(), **{'part.more': torch.ones(1)})
    del weights[missing]
    found = model.load_state_dict(weights, strict=False)
    assert found.missing_keys == [missing]
    assert found.unexpected_keys == ['part.more']
    with pytest.raises(RuntimeError, match='part.more'):
        model.load_state_dict(weights)
