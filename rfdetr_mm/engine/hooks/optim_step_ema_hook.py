"""EMAHook that counts the optimizer's steps."""

import math
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import EMAHook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from rfdetr_mm.errors import InputError


@HOOKS.register_module()
class OptimStepEMAHook(EMAHook):
    """mmengine's EMAHook, updated once per step of the optimizer.

    With gradient accumulation mmengine averages in every iteration, also in
    those that leave the weights as they are, so that the average forgets
    ``accumulative_counts`` times faster than meant.

    Validation, tests and the ``state_dict`` of checkpoints use the average;
    the plain weights are kept in the checkpoint's ``ema_state_dict``, as with
    EMAHook.

    Args:
        *args: Arguments of EMAHook.
        step_interval: Steps from one update to the next.
        **kwargs: Keyword arguments of EMAHook.

    Raises:
        InputError: If ``step_interval`` is not a positive integer.

    Source: rfdetr 1.11.2, training/callbacks/ema.py, which averages once per
        ``global_step``.
    """

    def __init__(
        self, *args: Any, step_interval: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if type(step_interval) is not int or step_interval < 1:
            raise InputError(
                'OptimStepEMAHook updates the average after every '
                'step_interval steps, a whole number of at least 1, got '
                f'{step_interval!r}'
            )
        self.step_interval = step_interval

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Update the average if this iteration ended with a step.

        Args:
            runner: The runner that trains.
            batch_idx: Number of the batch in the epoch.
            data_batch: The batch, not used.
            outputs: The losses, not used.
        """
        wrapper = runner.optim_wrapper
        if not wrapper.should_update():
            return
        # A resumed training counts from where it was.
        step = math.ceil(wrapper._inner_count / wrapper._accumulative_counts)
        if step % self.step_interval == 0:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
