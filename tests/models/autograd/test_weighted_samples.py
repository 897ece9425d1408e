"""Weighted samples: values and gradients of plain sampling."""

import pytest
import torch
import torch.nn.functional as F

from rfdetr_mm.models.autograd import weighted_samples as module
from rfdetr_mm.models.autograd.weighted_samples import weighted_samples
from rfdetr_mm.models.layers.decoder_memory import build_memory
from rfdetr_mm.models.layers.deformable_attention import DeformableAttention
from tests.gradients import calls_of, random_inputs, with_gradients
from tests.kept_shapes import kept_shapes

BATCH, CHANNELS, QUERIES = 3, 4, 5


def inputs(num_points=2, size=(4, 6)):
    """Points in and around maps of H != W, and not on a cell's border."""
    points = (BATCH, num_points, QUERIES)
    return random_inputs(
        num_points, (BATCH, CHANNELS, *size), (*points, 2), points
    )


def plain(maps, grids, weights):
    """One point after the other."""
    return sum(
        F.grid_sample(maps, grids[:, [p]], align_corners=False)[:, :, 0]
        * weights[:, None, p]
        for p in range(grids.shape[1])
    )


@pytest.fixture
def calls(monkeypatch):
    """How often the function with its own backward pass was taken."""
    return calls_of(module._WeightedSamples, monkeypatch)


@pytest.mark.parametrize('num_points', [1, 2, 3])
@pytest.mark.parametrize('size', [(4, 6), (1, 3)])
def test_values_and_gradients(num_points, size):
    arguments = inputs(num_points, size)
    outside = arguments[1].abs() > 1
    assert outside.any() and not outside.all()
    torch.testing.assert_close(
        with_gradients(weighted_samples, arguments),
        with_gradients(plain, arguments),
    )


def test_values_without_gradients(calls):
    arguments = inputs()
    expected = plain(*arguments)
    with torch.no_grad():
        torch.testing.assert_close(weighted_samples(*arguments), expected)
    assert not calls


def test_gradients_by_differences():
    assert torch.autograd.gradcheck(weighted_samples, inputs())


def test_frozen_maps():
    maps, grids, weights = inputs()
    out = weighted_samples(maps.requires_grad_(False), grids, weights)
    out.sum().backward()
    assert maps.grad is None and grids.grad is not None


def test_samples_are_not_kept():
    arguments = inputs()
    samples = (BATCH, CHANNELS, 2, QUERIES)
    with kept_shapes() as kept:
        module._plain(*arguments)
        assert samples in kept  # the control
        kept.clear()
        weighted_samples(*arguments)
    assert arguments[1].shape in kept and samples not in kept


@pytest.mark.needs_torch('2.3', 'own backward passes')
@pytest.mark.parametrize('autocast', [False, True])
def test_an_attention_takes_it_in_training(calls, autocast):
    """Once for each level; not in mixed precision."""
    torch.manual_seed(0)
    attention = DeformableAttention(8, 2, num_levels=2, num_points=2)
    feats = [torch.randn(2, 8, 3, 5), torch.randn(2, 8, 2, 3)]
    query = torch.randn(2, 7, 8, requires_grad=True)
    references = torch.rand(2, 7, 2, 4)
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        attention(query, references, build_memory(feats))
    assert len(calls) == (0 if autocast else 2)
