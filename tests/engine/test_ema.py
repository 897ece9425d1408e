"""WarmupEMA: values by hand, buffers, resuming."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from rfdetr_mm.engine import WarmupEMA


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.register_buffer('mean', torch.zeros((), dtype=torch.float64))
        self.register_buffer('count', torch.tensor(0))

    def set(self, value):
        self.weight.data.fill_(value)
        self.mean.fill_(2 * value)
        self.count.fill_(round(value))


def averages(values, **options):
    model = Model()
    average = WarmupEMA(model, **options)
    seen = []
    for value in values:
        model.set(value)
        average.update_parameters(model)
        weight, mean = average.module.weight, average.module.mean
        assert weight[0] == weight[1] == pytest.approx(float(mean) / 2)
        assert average.module.count == round(value)
        seen.append(float(weight[0]))
    return seen


def test_first_updates_by_hand():
    kept = [0.993 * (1 - math.exp(-n / 100)) for n in (2, 3)]
    second = kept[0] * 5 + (1 - kept[0]) * -3
    third = kept[1] * second + (1 - kept[1]) * 8
    assert averages([5, -3, 8]) == pytest.approx([5, second, third])


def test_in_the_long_run_decay_is_kept():
    values = [1.0] * 3000 + [0.0]
    assert averages(values)[-1] == pytest.approx(0.993, abs=1e-9)
    assert averages([1, 0, 0], tau=0, decay=0.5) == [1, 0.5, 0.25]


def test_one_tensor_at_a_time_is_the_same():
    average = WarmupEMA(Model())
    single = torch.tensor([4.0, 1.0])
    average.avg_func(single, torch.tensor([1.0, 4.0]), steps=9)
    kept = 0.993 * (1 - math.exp(-10 / 100))
    assert single.tolist() == pytest.approx([1 + 3 * kept, 4 - 3 * kept])


def test_resumed_average_goes_on():
    values = [math.sin(i) for i in range(12)]
    model = Model()
    first = WarmupEMA(model)
    for value in values[:5]:
        model.set(value)
        first.update_parameters(model)
    second = WarmupEMA(Model())
    second.load_state_dict(first.state_dict())
    for value in values[5:]:
        model.set(value)
        second.update_parameters(model)
    assert float(second.module.weight[0]) == averages(values)[-1]


def test_the_model_is_left_alone():
    model = Model()
    average = WarmupEMA(model)
    model.set(3)
    average.update_parameters(model)
    model.set(1)
    average.update_parameters(model)
    assert model.weight.tolist() == [1, 1] and model.weight.requires_grad
    assert not average.module.weight.requires_grad


@pytest.mark.parametrize(
    'options', [dict(decay=1.1), dict(decay=-0.1), dict(tau=-1)]
)
def test_wrong_settings_are_explained(options):
    config = dict(type='WarmupEMA', model=Model(), **options)
    with pytest.raises(ValueError, match=r'decay in \[0, 1\] and tau'):
        MODELS.build(config)


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), float('-inf')])
def test_weights_that_are_not_finite_are_left_out(bad, caplog):
    model = Model()
    average = WarmupEMA(model)
    for value in (5.0, -3.0):
        model.set(value)
        average.update_parameters(model)
    before = {k: v.clone() for k, v in average.state_dict().items()}
    for name in ('weight', 'mean'):
        model.set(8.0)
        getattr(model, name).data.view(-1)[-1] = bad
        average.update_parameters(model)
    after = average.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    model.set(8.0)
    average.update_parameters(model)  # as if nothing had been between
    assert averages([5, -3, 8])[-1] == float(average.module.weight[0])
