"""A training that has diverged ends, instead of going on for days."""

import math

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from rfdetr_mm.errors import InputError

from .step_loss import step_loss


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop a training whose loss is not finite several times in a row.

    Single losses that are not finite are logged and passed over: mixed
    precision gives some while it looks for its scale. In a distributed
    training the gradients of all processes are averaged, so that all losses
    are not finite one step after the first one.

    Args:
        patience: So many in a row end the training; 1 at least.

    Raises:
        InputError: If ``patience`` is not a whole number of at least 1.
    """

    # After the hooks that log, so that the last losses are in the log.
    priority = 'LOWEST'

    def __init__(self, patience: int = 10) -> None:
        if type(patience) is not int or patience < 1:
            raise InputError(
                'FiniteLossHook counts losses that are not finite and needs a '
                f'patience of at least 1, got {patience!r}; to go on anyway, '
                'default_hooks.finite_loss=None'
            )
        self.patience = patience
        self._num = 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the loss of a step.

        Args:
            runner: The runner that trains.
            batch_idx: Number of the batch in the epoch, not used.
            data_batch: The batch, not used.
            outputs: The losses; their sum is ``loss``.

        Raises:
            InputError: If the patience is at its end.
        """
        loss = step_loss(outputs)
        if loss is None or math.isfinite(loss):
            self._num = 0
            return
        self._num += 1
        if self._num == 1:
            runner.logger.warning(
                f'The loss of step {runner.iter + 1} is {loss}. After '
                f'{self.patience} such steps in a row the training stops.'
            )
        if self._num >= self.patience:
            raise InputError(self._message(runner, loss))

    def _message(self, runner: Runner, loss: float) -> str:
        rate = runner.optim_wrapper.optimizer.defaults.get('lr')
        info = runner.message_hub.runtime_info
        last = info.get('last_ckpt')
        kept = (
            f'the last good checkpoint is {last}'
            if last
            else ('no checkpoint was written yet')
        )
        return (
            f'the training has diverged: the loss was {loss} in '
            f'{self._num} steps in a row, the last one is step '
            f'{runner.iter + 1}. Lower the learning rate, now {rate:g} (lr, '
            'lr_encoder; optim_wrapper.optimizer.lr of a config), or turn '
            'mixed precision off (amp_dtype=None, without --amp), and train '
            f'again; {kept}'
        )
