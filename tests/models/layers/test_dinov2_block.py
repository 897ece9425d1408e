"""The block's layer scales, in the weights or after the layer."""

import pytest
import torch
from torch import Tensor, nn

from rfdetr_mm.models.layers.dinov2_block import DINOv2Block, scaled_linear
from tests.kept_shapes import kept_shapes

ROWS, IN_DIMS, OUT_DIMS = 7, 5, 3


class DoubledLinear(nn.Linear):
    """Does more than a product, as a layer with an adapter does."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def with_gradients(layer: nn.Linear, scale: Tensor, call) -> list[Tensor]:
    """Result and gradients of input, scale and the layer's parameters."""
    torch.manual_seed(1)
    x = torch.randn(2, ROWS, IN_DIMS, dtype=torch.float64, requires_grad=True)
    out = call(layer, x, scale)
    leaves = [x, scale, *layer.parameters()]
    weights = torch.arange(out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad((out * weights).sum(), leaves)]


@pytest.mark.parametrize('kind', [nn.Linear, DoubledLinear])
@pytest.mark.parametrize('bias', [True, False])
def test_scaled_linear_is_the_layer_times_the_scale(
    kind: type[nn.Linear], bias: bool
) -> None:
    torch.manual_seed(0)
    layer = kind(IN_DIMS, OUT_DIMS, bias=bias).double()
    scale = torch.randn(OUT_DIMS, dtype=torch.float64, requires_grad=True)
    expected = with_gradients(layer, scale, lambda f, x, s: f(x) * s)
    torch.testing.assert_close(
        with_gradients(layer, scale, scaled_linear), expected
    )
    with torch.no_grad():
        x = torch.ones(ROWS, IN_DIMS, dtype=torch.float64)
        torch.testing.assert_close(
            scaled_linear(layer, x, scale), layer(x) * scale
        )


def test_nothing_as_large_as_the_result_is_kept_for_the_scale() -> None:
    layer = nn.Linear(IN_DIMS, OUT_DIMS)
    scale = torch.ones(OUT_DIMS, requires_grad=True)
    x = torch.randn(ROWS, IN_DIMS, requires_grad=True)
    with kept_shapes() as kept:
        layer(x) * scale
        assert (ROWS, OUT_DIMS) in kept  # the control
        kept.clear()
        scaled_linear(layer, x, scale)
    assert kept and (ROWS, OUT_DIMS) not in kept


@pytest.mark.parametrize('windows_per_attention', [1, 4])
def test_training_and_evaluation_of_a_block_agree(
    windows_per_attention: int,
) -> None:
    torch.manual_seed(0)
    block = DINOv2Block(embed_dims=8, num_heads=2).double()
    for scale in (block.layer_scale1, block.layer_scale2):
        nn.init.normal_(scale.weight)
    windows = torch.randn(4, 6, 8, dtype=torch.float64)
    training = block(windows, windows_per_attention)
    assert training.requires_grad
    with torch.no_grad():
        evaluation = block(windows, windows_per_attention)
    torch.testing.assert_close(training, evaluation)
