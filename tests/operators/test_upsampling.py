"""CARAFE."""

import pytest
import torch
import torch.nn.functional as F

from tests.operators.golden_cases import Numbers, with_gradients


def by_hand(features, masks, kernel, groups, scale):
    """All patches at once, enlarged, weighted and summed."""
    batch, channels, height, width = features.shape
    patches = F.unfold(features, kernel, padding=kernel // 2)
    patches = patches.view(batch, channels * kernel**2, height, width)
    patches = F.interpolate(patches, scale_factor=scale, mode='nearest')
    size = patches.shape[2:]
    patches = patches.view(batch, groups, -1, kernel**2, *size)
    weights = masks.view(batch, groups, 1, kernel**2, *size)
    return (patches * weights).sum(3).view(batch, channels, *size)


@pytest.mark.parametrize('name', ['carafe', 'carafe_naive'])
@pytest.mark.parametrize(
    'kernel, groups, scale', [(3, 1, 2), (5, 2, 2), (5, 1, 1), (1, 4, 3)]
)
def test_equals_the_formula(stand_in, name, kernel, groups, scale):
    """mmcv's own function refuses the naive one's gradient on a CPU."""
    numbers = Numbers(0, torch.float64)
    features = numbers.normal(2, 4, 5, 3)
    masks = numbers.uniform(2, groups * kernel**2, 5 * scale, 3 * scale)
    expected = with_gradients(
        lambda x, m: by_hand(x, m, kernel, groups, scale), features, masks
    )
    options = (kernel, groups, scale)
    output = torch.empty_like(expected[0])
    grads = [torch.zeros_like(features), torch.zeros_like(masks)]
    upstream = Numbers(7).normal(*output.shape).to(output)
    if name == 'carafe':
        kept = torch.zeros_like(features)
        buffers = [torch.zeros(0)] * 4
        stand_in.carafe_forward(
            features, masks, kept, *buffers[:2], output, *options
        )
        stand_in.carafe_backward(
            upstream, kept, masks, *buffers, *grads, *options
        )
    else:
        stand_in.carafe_naive_forward(features, masks, output, *options)
        stand_in.carafe_naive_backward(
            upstream, features, masks, *grads, *options
        )
    for found, right in zip([output, *grads], expected, strict=True):
        torch.testing.assert_close(found, right)


def test_mmcvs_module(ops):
    numbers = Numbers(1, torch.float64)
    features = numbers.normal(1, 2, 3, 4).requires_grad_()
    masks = numbers.uniform(1, 9, 6, 8).requires_grad_()
    torch.autograd.gradcheck(
        lambda x, m: ops.carafe(x, m, 3, 1, 2), (features, masks)
    )
    torch.testing.assert_close(
        ops.CARAFENaive(3, 1, 2)(features, masks),
        by_hand(features, masks, 3, 1, 2),
    )
