"""Merging adapters, against peft's own merging and by hand."""

import pytest
import torch
from torch import nn

from rfdetr_mm.adapter_weights import (
    ALPHA,
    find_adapted_layers,
    merge_adapters,
    merged_weight,
)
from rfdetr_mm.errors import InputError

peft = pytest.importorskip('peft', reason='the extra lora is not installed')


class Net(nn.Module):
    """A layer that is not square, and one whose name begins alike."""

    def __init__(self):
        super().__init__()
        self.query = nn.Linear(6, 10)
        self.query_pos = nn.Linear(10, 4, bias=False)

    def forward(self, x):
        return self.query_pos(self.query(x))


def perturbed(use_dora, rank=3, alpha=5, targets=('query', 'query_pos')):
    """A net in peft's dress, with random adapters and magnitudes."""
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        use_dora=use_dora,
        target_modules=list(targets),
    )
    model = peft.get_peft_model(Net(), config)
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.3 * torch.randn_like(param))
    return model


def state_dict_of(model, alpha):
    weights = model.base_model.model.state_dict()
    # peft merges in place
    weights = {key: value.clone() for key, value in weights.items()}
    for layer in find_adapted_layers(weights):
        weights[layer + ALPHA] = torch.tensor(alpha)
    return weights


@pytest.mark.parametrize('use_dora', [False, True])
@pytest.mark.parametrize('targets', [('query',), ('query', 'query_pos')])
def test_equals_peft(use_dora, targets):
    model = perturbed(use_dora, targets=targets)
    weights = state_dict_of(model, 5)
    before = {key: value.clone() for key, value in weights.items()}
    x = torch.randn(7, 6)
    adapted = model(x)
    merged = merge_adapters(weights)
    assert list(merged) == list(Net().state_dict())
    for key, value in model.merge_and_unload().state_dict().items():
        torch.testing.assert_close(merged[key], value, rtol=1e-6, atol=1e-7)
    plain = Net()
    plain.load_state_dict(merged)
    torch.testing.assert_close(plain(x), adapted, rtol=1e-5, atol=1e-6)
    assert weights.keys() == before.keys()
    assert all(torch.equal(weights[key], before[key]) for key in before)


@pytest.mark.parametrize('use_dora', [False, True])
def test_negative_control(use_dora):
    """Without the strength, or with it twice, the result is another."""
    model = perturbed(use_dora)
    weights = state_dict_of(model, 5)
    right = merge_adapters(weights)['query.weight']
    for alpha in (3, 10):
        other = merge_adapters(
            {**weights, 'query' + ALPHA: torch.tensor(alpha)}
        )
        assert (other['query.weight'] - right).abs().max() > 1e-2


def test_by_hand():
    weight = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    down, up = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0], [0.0]])
    args = (weight, down, up)
    # s * up @ down is [[0, 4], [0, 0]] for alpha 2, rank 1
    lora = merged_weight(*args, alpha=2)
    assert lora.tolist() == [[3.0, 4.0], [0.0, 1.0]]
    dora = merged_weight(*args, magnitude=torch.tensor([10.0, 2.0]), alpha=2)
    assert dora.tolist() == [[6.0, 8.0], [0.0, 2.0]]
    # as upstream: alpha equals the rank
    assert merged_weight(*args).tolist() == [[3.0, 2.0], [0.0, 1.0]]


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_dtypes(dtype):
    parts = [torch.randn(8, 8, dtype=dtype) for _ in range(3)]
    magnitude = torch.rand(8, dtype=dtype)
    merged = merged_weight(*parts, magnitude=magnitude)
    exact = merged_weight(
        *(part.double() for part in parts), magnitude=magnitude.double()
    )
    assert merged.dtype == dtype
    torch.testing.assert_close(merged, exact.to(dtype), rtol=1e-6, atol=0)


def test_only_the_named_layers_are_merged():
    weights = state_dict_of(perturbed(True), 5)
    merged = merge_adapters(weights, ['query'])
    assert find_adapted_layers(merged) == ['query_pos']
    assert {key for key in weights if 'query_pos' in key} == {
        key for key in merged if 'query_pos' in key
    }
    assert 'query.weight' in merged and 'query.bias' in merged


def test_without_adapters_nothing_changes():
    weights = Net().state_dict()
    merged = merge_adapters(weights)
    assert all(merged[key] is weights[key] for key in weights)


@pytest.mark.parametrize(
    'missing', ['query.base_layer.weight', 'query.lora_B.default.weight']
)
def test_an_incomplete_adapter_is_refused(missing):
    weights = state_dict_of(perturbed(True), 5)
    del weights[missing]
    with pytest.raises(InputError, match=f'of query cannot.*{missing}'):
        merge_adapters(weights)
