"""Modules whose graph is built for one image size."""

import torch
from torch import Tensor, nn


class FixedSizeModule(nn.Module):
    """Learns the sizes of its maps in a plain call, before it is traced.

    A trace would turn sizes into nodes of the graph. So an exported module
    is called once without tracing; the trace then finds numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: tuple[tuple[int, int], ...] = ()

    def remember_sizes(self, *maps: Tensor) -> None:
        """Take the (h, w) of maps (bs, C, h, w), and what follows from them.

        Without effect while a graph is traced.
        """
        if torch.jit.is_tracing():
            return
        sizes = tuple((int(x.shape[-2]), int(x.shape[-1])) for x in maps)
        if sizes != self.sizes:
            self.sizes = sizes
            self.build_constants()

    def build_constants(self) -> None:
        """Compute what depends on the sizes alone."""


def constant(module: nn.Module, name: str, value: Tensor) -> None:
    """Make ``module.name`` a buffer that state dicts leave out."""
    module.register_buffer(name, value.detach().clone(), persistent=False)


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer of given values."""
    layer = nn.Linear(
        weight.shape[1], weight.shape[0], bias=bias is not None
    ).to(weight)
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer


def merged_linear(*layers: nn.Linear) -> nn.Linear:
    """One linear layer that gives the outputs of several, concatenated."""
    return linear(
        torch.cat([layer.weight for layer in layers]),
        torch.cat([layer.bias for layer in layers]),
    )


def scaled_linear(layer: nn.Linear, scale: Tensor | float) -> nn.Linear:
    """A linear layer whose outputs are scaled, channel by channel."""
    scale = torch.as_tensor(scale).to(layer.weight).reshape(-1)
    return linear(layer.weight * scale[:, None], layer.bias * scale)
