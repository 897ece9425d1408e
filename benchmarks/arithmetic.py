"""How much a work computes: the matrix products that really run.

They are counted where they are dispatched, so that what an autograd Function
of ours computes in its backward pass, or computes twice, counts. Operators
without products (sums, softmax, sampling, gathering) do not.
"""

import contextlib
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

Shape = Sequence[int]


class _OneModule(contextlib.nullcontext):
    """In place of torch's tracker of modules, which fails under no_grad."""

    parents = frozenset({'Global'})


def _product(total: Shape, a: Shape, b: Shape, *_: Any, **__: Any) -> int:
    return 2 * prod(a) * b[-1]


def _attention(
    query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    grad: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


# What torch's own table lacks: products in place, and attention on a CPU.
LACKING = {
    'addmm_': _product,
    'baddbmm_': _product,
    '_scaled_dot_product_flash_attention_for_cpu': _attention,
    '_scaled_dot_product_flash_attention_for_cpu_backward': (
        _attention_backward
    ),
}


def flops_of(work: Callable[[], Any]) -> int:
    """Do a work once and count its matrix products.

    Args:
        work: What is done; forward and backward passes alike.

    Returns:
        Multiplications and additions; a multiply-add counts as two.
    """
    counter = FlopCounterMode(
        display=False,
        custom_mapping={
            getattr(torch.ops.aten, name): count
            for name, count in LACKING.items()
        },
    )
    counter.mod_tracker = _OneModule()
    with counter:
        work()
    return counter.get_total_flops()
