"""Accumulated batches count every object alike."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import HOOKS
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from torch import nn

from rfdetr_mm.errors import InputError
from rfdetr_mm.models.detectors import RFDETR

GROUPS = 3


class Detector(nn.Module):
    """Its loss is the mean over objects of their products with a weight."""

    parse_losses = RFDETR.parse_losses

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, dtype=torch.double))
        self.idle = nn.Parameter(torch.ones(1))
        self.bbox_head = SimpleNamespace(num_groups=GROUPS)
        self.loss_factor = 1.0

    def loss(self, objects):
        total = (self.weight * objects).sum() * GROUPS
        return total / max(len(objects) * GROUPS, 1)


def train(batches, window, hook=None):
    """Gradients at every step of the optimizer."""
    model, found = Detector(), []

    class Recorder(torch.optim.SGD):
        """Hooks of a step do not run once torch 2.1 has compiled anything."""

        def step(self, closure=None):
            found.append(model.weight.grad.clone())
            return super().step(closure)

    optimizer = Recorder(model.parameters(), lr=0.0)
    wrapper = OptimWrapper(optimizer, accumulative_counts=window)
    wrapper.initialize_count_status(model, 0, len(batches))
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper)
    hook = hook and HOOKS.build(dict(type=hook))
    for i, objects in enumerate(batches):
        sample = SimpleNamespace(gt_instances=InstanceData(bboxes=objects))
        if hook:
            hook.before_train_iter(runner, i, dict(data_samples=[sample]))
        loss = model.loss(objects)
        if hook:
            loss = loss * model.loss_factor
        wrapper.update_params(loss)
    return found


@pytest.mark.parametrize(
    ('counts', 'window'),
    [
        ((3, 1), 2),
        ((3, 0, 5), 3),
        ((1, 4, 2, 7), 2),
        ((1, 4, 2, 7, 5), 2),  # the last window is shorter
        ((0, 0), 2),
    ],
)
def test_as_one_large_batch(counts, window):
    generator = torch.Generator().manual_seed(0)
    batches = [torch.rand(n, 2, generator=generator).double() for n in counts]
    found = train(batches, window, 'ObjectAccumulationHook')
    windows = [batches[i : i + window] for i in range(0, len(batches), window)]
    assert len(found) == len(windows)
    for grad, parts in zip(found, windows):
        # The divisor of a batch without objects is 1, as upstream's.
        divisor = sum(max(len(part) * GROUPS, 1) for part in parts)
        expected = torch.cat(parts).sum(dim=0) * GROUPS / divisor
        torch.testing.assert_close(grad, expected)
    # mmengine alone gives objects in a batch of few more weight.
    plain = train(batches, window)
    if len(set(counts)) > 1:
        assert not torch.allclose(plain[0], found[0])


def test_without_accumulation_nothing_changes():
    batches = [torch.rand(n, 2).double() for n in (3, 1)]
    hooked, plain = (
        train(batches, 1, 'ObjectAccumulationHook'),
        train(batches, 1),
    )
    assert all(map(torch.equal, hooked, plain))


def test_another_detector_is_refused():
    model = nn.Linear(1, 1)
    wrapper = OptimWrapper(
        torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2
    )
    hook = HOOKS.build(dict(type='ObjectAccumulationHook'))
    with pytest.raises(InputError, match='needs the detector RFDETR.* Linear'):
        hook.before_train_iter(
            SimpleNamespace(model=model, optim_wrapper=wrapper), 0, {}
        )


def test_the_factor_is_in_the_gradient_and_not_in_the_log():
    losses = dict(loss_a=torch.tensor(2.0), loss_b=torch.tensor(3.0))
    detector = RFDETR.__new__(RFDETR)
    nn.Module.__init__(detector)
    for factor in (1.0, 0.25):
        detector.loss_factor = factor
        total, logged = detector.parse_losses(dict(losses))
        assert total == 5 * factor and logged['loss'] == 5
