"""Products are counted wherever they run; numbers by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F


@pytest.fixture(scope='module')
def flops_of():
    from arithmetic import flops_of

    return flops_of


def test_products_in_place_and_out_of_place(flops_of):
    a, b, c = torch.rand(3, 5), torch.rand(5, 7), torch.rand(3, 7)
    once = 2 * 3 * 5 * 7
    assert flops_of(lambda: a @ b) == once
    assert flops_of(lambda: c.addmm_(a, b)) == once
    assert flops_of(lambda: torch.mm(a, b, out=c)) == once
    stack = torch.zeros(2, 3, 7)
    both = (a.expand(2, 3, 5), b.expand(2, 5, 7))
    assert flops_of(lambda: stack.baddbmm_(*both)) == 2 * once
    assert flops_of(lambda: c + c) == 0


def test_backward_passes_of_our_own(flops_of):
    """Four products: one forward, it again, and two for the gradients."""

    class Again(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return x @ weight

        @staticmethod
        def backward(ctx, grad):
            x, weight = ctx.saved_tensors
            grad = grad * (x @ weight)
            return grad @ weight.T, x.T @ grad

    x = torch.rand(3, 5, requires_grad=True)
    weight = torch.rand(5, 7, requires_grad=True)
    work = lambda: Again.apply(x, weight).sum().backward()  # noqa: E731
    assert flops_of(work) == 4 * 2 * 3 * 5 * 7


def test_attention_on_a_cpu(flops_of):
    query = torch.rand(2, 4, 6, 8, requires_grad=True)
    key = torch.rand(2, 4, 10, 8, requires_grad=True)
    once = 2 * 2 * 4 * 6 * 10 * 8  # of each of both products
    forward = flops_of(lambda: F.scaled_dot_product_attention(query, key, key))
    assert forward == 2 * once
    whole = flops_of(
        lambda: (
            F.scaled_dot_product_attention(query, key, key).sum().backward()
        )
    )
    # Backward: the weights again, and two gradients of each product.
    assert whole == (2 + 5) * once


def test_within_no_grad_in_a_module(flops_of):
    """What torch's tracker of modules fails at."""

    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(5, 7)

        def forward(self, x):
            with torch.no_grad():
                return self.inner(x)

    x = torch.rand(3, 5, requires_grad=True)
    assert flops_of(lambda: Frozen()(x * 2)) == 2 * 3 * 5 * 7
