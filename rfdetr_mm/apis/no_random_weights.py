"""Building a model whose weights all come from a file."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

RANDOM = (
    'kaiming_normal_',
    'kaiming_uniform_',
    'normal_',
    'trunc_normal_',
    'uniform_',
    'xavier_normal_',
    'xavier_uniform_',
)


@contextmanager
def no_random_weights() -> Iterator[None]:
    """Leave weights unset where ``torch.nn.init`` would draw them.

    Drawing them takes a quarter of a second for Nano. Constants are set as
    always, and so is what other threads build. What is not loaded afterwards
    means nothing.

    The device ``meta`` is not a substitute: mmengine's inferencers read the
    checkpoint, build the model and move it in one method, so that all of it
    would be on ``meta``, and mean and std of the data preprocessor are in no
    checkpoint. Nor is a mode that skips the drawing of tensors:
    ``trunc_normal_`` of torch 2.14 draws until all values are within its
    limits.
    """
    originals = {name: getattr(nn.init, name) for name in RANDOM}
    try:
        for name, original in originals.items():
            setattr(nn.init, name, _not_here(original))
        yield
    finally:
        for name, original in originals.items():
            setattr(nn.init, name, original)


def _not_here(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of ``nn.init`` that does nothing in this thread."""
    thread = threading.get_ident()

    def init(tensor: Tensor, *args, **kwargs) -> Tensor:
        if threading.get_ident() == thread:
            return tensor
        return draw(tensor, *args, **kwargs)

    return init
