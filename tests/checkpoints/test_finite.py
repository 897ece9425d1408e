"""Whether weights are numbers."""

import pytest
import torch

from rfdetr_mm.checkpoints import all_finite, list_non_finite, name_some

BAD = [float('nan'), float('inf'), float('-inf')]


@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize(
    'dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
@pytest.mark.parametrize('place', [(0, 0), (1, 2), (2, 6)])
def test_one_number_is_enough(bad, dtype, place):
    good = torch.randn(3, 7, dtype=dtype)
    assert all_finite([good, good])
    broken = good.clone()
    broken[place] = bad
    assert not all_finite([good, broken])
    assert not all_finite([broken, good])


def test_infinities_do_not_cancel_out():
    assert not all_finite([torch.tensor([float('inf'), float('-inf')])])


def test_sums_beyond_the_range_of_a_half_are_numbers():
    assert all_finite([torch.full((3, 9), 6e4, dtype=torch.float16)])


def test_what_has_no_fraction_is_finite():
    assert all_finite([])
    assert all_finite([torch.tensor([2**62]), torch.tensor([True])])
    assert all_finite([torch.zeros(0), torch.zeros(2, 0, 3)])
    assert all_finite([torch.ones(3, requires_grad=True)])


def test_names():
    nan = torch.tensor([0.0, float('nan')])
    weights = dict(a=torch.ones(2, 3), b=nan, c='text', d=-nan, e=2 * nan)
    found = list_non_finite(weights)
    assert found == ['b', 'd', 'e']
    text = name_some(found, len(weights))
    assert text.startswith('3 of 5 weights are not finite') and 'b, d, …' in (
        text
    )
    assert '…' not in name_some(['b', 'd'], 5)
