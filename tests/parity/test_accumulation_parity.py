"""Accumulated gradients of keypoint models against rfdetr's own code."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import HOOKS
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from torch import nn

pytest.importorskip('rfdetr', reason='the parity oracle is not installed')

pytestmark = pytest.mark.parity

GROUPS = 13


class Model(nn.Module):
    """A weight whose gradient is the sum of what it is multiplied with."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, dtype=torch.double))
        self.bbox_head = SimpleNamespace(num_groups=GROUPS)


def upstreams_gradient(batches):
    from rfdetr.training.module_model import RFDETRModelModule

    model = Model()
    model._accumulated_box_normalizer = None
    model._rescale_accumulated_gradients = lambda scale: (
        RFDETRModelModule._rescale_accumulated_gradients(model, scale)
    )
    for numerator, count in batches:
        loss = RFDETRModelModule._scale_loss_for_accumulation(
            model,
            (model.weight * numerator).sum(),
            torch.tensor(max(count * GROUPS, 1.0), dtype=torch.double),
        )
        loss.backward()
    return model.weight.grad


def our_gradient(batches):
    model = Model()
    model.loss_factor = 1.0
    wrapper = OptimWrapper(
        torch.optim.SGD(model.parameters(), lr=0.0),
        accumulative_counts=len(batches) + 1,  # no step resets the gradient
    )
    hook = HOOKS.build(dict(type='ObjectAccumulationHook'))
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper)
    for i, (numerator, count) in enumerate(batches):
        objects = InstanceData(bboxes=torch.zeros(count, 4))
        sample = SimpleNamespace(gt_instances=objects)
        hook.before_train_iter(runner, i, dict(data_samples=[sample]))
        loss = (model.weight * numerator).sum() / max(count * GROUPS, 1.0)
        wrapper.update_params(loss * model.loss_factor)
    return model.weight.grad


@pytest.mark.parametrize('counts', [(3, 1), (5, 0, 2), (0, 4), (0, 0), (7,)])
def test_accumulated_gradients(counts):
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.rand(2, generator=generator).double(), count)
        for count in counts
    ]
    expected = upstreams_gradient(batches)
    torch.testing.assert_close(our_gradient(batches), expected)
    moved = [(numerator, count + 1) for numerator, count in batches]
    assert not torch.allclose(our_gradient(moved), expected)
