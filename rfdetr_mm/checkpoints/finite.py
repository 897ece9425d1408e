"""Whether weights are numbers."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

_NUM_NAMES = 2


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers of floating-point tensors are finite.

    It takes a hundredth of the time of ``isfinite`` on each number, because a
    sum of finite numbers is finite, unless they are near the largest one that
    float32 has.

    Args:
        tensors: They may have any shapes, on one device; whole numbers are
            always finite.
    """
    floats = [x.detach() for x in tensors if x.is_floating_point()]
    if not floats:
        return True
    if floats[0].is_cuda:  # one kernel for many tensors
        sums = torch._foreach_norm(floats)
    else:
        sums = [x.sum(dtype=torch.float32) for x in floats]
    return bool(torch.stack([x.float() for x in sums]).isfinite().all())


def list_non_finite(weights: Mapping[str, Any]) -> list[str]:
    """Names of the weights that have a number which is not finite.

    Args:
        weights: Name to tensor; other values are passed over.
    """
    return [
        name
        for name, value in weights.items()
        if isinstance(value, Tensor) and not all_finite([value])
    ]


def name_some(names: list[str], num_all: int) -> str:
    """Write for a message which weights are not finite.

    Args:
        names: Their names, one at least.
        num_all: How many weights there are.
    """
    more = ', …' if len(names) > _NUM_NAMES else ''
    return (
        f'{len(names)} of {num_all} weights are not finite (nan or inf): '
        f'{", ".join(names[:_NUM_NAMES])}{more}'
    )
