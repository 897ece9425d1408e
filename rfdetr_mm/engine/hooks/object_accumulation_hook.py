"""Gradient accumulation that counts objects, not batches."""

from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from rfdetr_mm.errors import InputError
from rfdetr_mm.models.task_modules.batch_objects import mean_over_processes


@HOOKS.register_module()
class ObjectAccumulationHook(Hook):
    """Accumulate batches as if they were a single large one.

    Losses are divided by the objects of a batch, and mmengine takes the mean
    over the batches that it accumulates: an object in a batch of few counts
    more. With this hook every object counts alike: the sum of all losses is
    divided by the objects of all the batches. Without accumulation it does
    nothing.

    Needs :class:`RFDETR`. What is logged stays that of each batch.

    Source: rfdetr 1.11.2, training/module_model.py,
        _scale_loss_for_accumulation, which does this for keypoints alone.
    """

    def __init__(self) -> None:
        self._counted = 0.0  # objects of the window so far

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
    ) -> None:
        """Weigh the gradients so far, and the loss that is coming.

        Args:
            runner: The runner.
            batch_idx: Not used.
            data_batch: Its ``data_samples`` have the objects.

        Raises:
            InputError: If batches are accumulated for another detector.
        """
        wrapper = runner.optim_wrapper
        window = wrapper._accumulative_counts
        if window == 1:
            return
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        if not hasattr(model, 'loss_factor'):
            raise InputError(
                'ObjectAccumulationHook needs the detector RFDETR, which '
                f'weighs its loss, got {type(model).__name__}: leave the hook '
                'out, or set optim_wrapper.accumulative_counts=1'
            )
        if wrapper._inner_count % window == 0:
            self._counted = 0.0
        count = sum(len(x.gt_instances) for x in data_batch['data_samples'])
        device = next(model.parameters()).device
        # The divisor of this batch's loss, see RFDETRHead.loss_by_feat.
        count = max(
            mean_over_processes(
                float(count * model.bbox_head.num_groups), device
            ),
            1.0,
        )
        total = self._counted + count
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        if self._counted and grads:
            torch._foreach_mul_(grads, self._counted / total)
        # The wrapper divides by its number of batches.
        batches = 1 / float(wrapper.scale_loss(torch.ones(())))
        model.loss_factor = batches * count / total
        self._counted = total
