"""Drop path that changes while the model is trained."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from rfdetr_mm.errors import InputError

MODES = ('standard', 'early', 'early-linear', 'late')


@HOOKS.register_module()
class DropPathHook(Hook):
    """Set the backbone's drop path rate before every iteration.

    Block i of n gets the part i / (n - 1) of the rate of the step. A rate
    that never changes needs no hook: set ``model.backbone.drop_path_rate``.

    Args:
        rate: The last block's rate where drop path is on.
        mode: 'standard': on throughout. 'early': on until ``cutoff_epoch``
            and 0 from then on. 'early-linear': falling from ``rate`` to 0
            until then. 'late': 0 until then and on from then on.
        cutoff_epoch: An epoch, counted from 0.

    Raises:
        InputError: If ``rate`` is not in [0, 1), the mode unknown or
            ``cutoff_epoch`` negative.

    Source: rfdetr 1.11.2, training/drop_schedule.py, drop_scheduler, and
        LWDETR.update_drop_path.
    """

    def __init__(
        self, rate: float, mode: str = 'standard', cutoff_epoch: int = 0
    ) -> None:
        if not 0 <= rate < 1:
            raise InputError(f'rate is a probability below 1, got {rate}')
        if mode not in MODES:
            raise InputError(f'mode is one of {MODES}, got {mode!r}')
        if cutoff_epoch < 0:
            raise InputError(
                f'cutoff_epoch counts epochs from 0, got {cutoff_epoch}'
            )
        self.rate = rate
        self.mode = mode
        self.cutoff_epoch = cutoff_epoch

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Set the rates.

        Args:
            runner: The runner; its model has ``backbone.blocks``, each with
                a ``drop_path``.
            batch_idx: Not used.
            data_batch: Not used.
        """
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        length = len(runner.train_dataloader) // accumulated
        rate = self.rate_at(
            runner.iter // accumulated, self.cutoff_epoch * max(1, length)
        )
        blocks = model.backbone.blocks
        for i, block in enumerate(blocks):
            block.drop_path.drop_prob = rate * i / max(1, len(blocks) - 1)

    def rate_at(self, step: int, cutoff: int) -> float:
        """Rate of the last block.

        Args:
            step: Optimizer steps done so far.
            cutoff: Steps before ``cutoff_epoch``.

        Returns:
            The rate.
        """
        if self.mode == 'standard':
            return self.rate
        if self.mode == 'late':
            return self.rate if step >= cutoff else 0.0
        if step >= cutoff:
            return 0.0
        if self.mode == 'early':
            return self.rate
        return self.rate * (1 - step / max(1, cutoff - 1))
