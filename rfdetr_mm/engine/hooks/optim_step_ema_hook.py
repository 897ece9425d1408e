"""EMAHook that counts the optimizer's steps."""

from mmdet.registry import HOOKS
from mmengine.hooks import EMAHook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner


@HOOKS.register_module()
class OptimStepEMAHook(EMAHook):
    """mmengine's EMAHook, updated once per step of the optimizer.

    With gradient accumulation mmengine averages in every iteration, also in
    those that leave the weights as they are, so that the average forgets
    ``accumulative_counts`` times faster than meant.

    Validation, tests and the ``state_dict`` of checkpoints use the average;
    the plain weights are kept in the checkpoint's ``ema_state_dict``, as with
    EMAHook.

    Source: rfdetr 1.11.2, training/callbacks/ema.py, which averages once per
        ``global_step``.
    """

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
        if runner.optim_wrapper.should_update():
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
