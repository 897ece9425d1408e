"""What a forward pass keeps for the backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def kept_shapes() -> Iterator[list[tuple[int, ...]]]:
    """Collect the shapes of the tensors that autograd keeps within it."""
    shapes: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        shapes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        yield shapes
