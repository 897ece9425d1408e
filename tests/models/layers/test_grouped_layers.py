import pytest
import torch
from torch import nn

from rfdetr_mm.models.layers.grouped_layers import (
    GroupedLayerNorm,
    GroupedLinear,
    GroupedMLP,
)


def single_linear(grouped, group):
    out_dims, in_dims = grouped.weight.shape[1:]
    linear = nn.Linear(in_dims, out_dims)
    linear.weight.data = grouped.weight.data[group]
    linear.bias.data = grouped.bias.data[group]
    return linear


@pytest.mark.parametrize('num_groups', [1, 3])
@pytest.mark.parametrize('shared', [True, False])
def test_linear_is_a_linear_for_each_group(num_groups, shared):
    layer = GroupedLinear(3, 4, 5)
    x = torch.randn(1 if shared else num_groups, 7, 4)
    out = layer(x, num_groups)
    assert out.shape == (num_groups, 7, 5)
    for group in range(num_groups):
        expected = single_linear(layer, group)(x[0 if shared else group])
        torch.testing.assert_close(out[group], expected)


def test_layer_norm_is_a_layer_norm_for_each_group():
    layer = GroupedLayerNorm(3, 6)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 5, 6)
    out = layer(x)
    for group in range(2):
        norm = nn.LayerNorm(6)
        norm.weight.data = layer.weight.data[group]
        norm.bias.data = layer.bias.data[group]
        torch.testing.assert_close(out[group], norm(x[group]))


def test_mlp_has_relu_between_layers_only():
    mlp = GroupedMLP(2, 4, 3, num_layers=3)
    x = torch.randn(2, 6, 4)
    for group in range(2):
        singles = [single_linear(layer, group) for layer in mlp]
        expected = nn.Sequential(
            singles[0], nn.ReLU(), singles[1], nn.ReLU(), singles[2]
        )(x[group])
        torch.testing.assert_close(mlp(x, 2)[group], expected)
    assert (mlp(x, 2) < 0).any()
