"""Loops for mmengine's Runner."""

from typing import Any

import torch
from mmdet.registry import LOOPS
from mmengine.dist import broadcast_object_list
from mmengine.hooks import EMAHook
from mmengine.runner import EpochBasedTrainLoop, Runner, TestLoop, ValLoop
from mmengine.runner.amp import autocast

from rfdetr_mm.errors import InputError

from .evaluation_losses import EvaluationLosses, with_masks
from .random_state import kept_random_state


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """EpochBasedTrainLoop that goes on exactly where a checkpoint was saved.

    * A checkpoint within an epoch (``CheckpointHook`` with
      ``by_epoch=False``) continues with the next batch; mmengine's loop
      starts the epoch again.
    * A checkpoint at the end of an epoch is saved before its validation, so
      resuming validates first if that is due.
    * Samples are drawn by their address, see :mod:`.seeded_data`, and
      validation does not touch the random numbers of the training.
    * Epochs are filled up to whole accumulation windows.

    What is saved is up to SafeCheckpointHook.

    Args:
        runner: The runner.
        dataloader: Config of the data loader.
        **kwargs: ``max_epochs``, ``val_begin``, ``val_interval`` and
            ``dynamic_intervals`` of EpochBasedTrainLoop.

    Raises:
        TypeError: If ``dataloader`` is not a config.
    """

    def __init__(
        self, runner: Runner, dataloader: dict, **kwargs: Any
    ) -> None:
        if not isinstance(dataloader, dict):
            raise TypeError(
                'ResumableTrainLoop builds the data loader itself and needs '
                f'its config, got {type(dataloader).__name__}: give a dict, '
                "or use train_cfg.type='EpochBasedTrainLoop'"
            )
        optim = runner.optim_wrapper
        if isinstance(optim, dict):
            window = optim.get('accumulative_counts', 1)
        else:
            window = getattr(optim, '_accumulative_counts', 1)
        # One seed for all processes, also with randomness.diff_rank_seed: the
        # rank is a part of every draw's address.
        seed = [runner.seed]
        broadcast_object_list(seed)
        dataloader = dict(dataloader)
        dataloader['dataset'] = dict(
            type='SeededDataset', dataset=dataloader['dataset']
        )
        dataloader['batch_sampler'] = dict(
            type='SeededBatchSampler',
            window=window,
            drop_last=dataloader.pop('drop_last', False),
            seed=seed[0],
            batch_sampler=dataloader.get('batch_sampler'),
        )
        super().__init__(runner, dataloader, **kwargs)
        self._num_done = 0

    def state_dict(self, num_done: int = 0) -> dict[str, Any]:
        """Describe the position in the data.

        Args:
            num_done: Batches of this epoch that are done.

        Returns:
            Plain values for a checkpoint.
        """
        batches = self.dataloader.batch_sampler
        return dict(
            num_done=num_done,
            num_batches=len(batches),
            seed=batches.seed,
            sampler_seed=getattr(batches.sampler, 'seed', None),
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a position over.

        Args:
            state: What :meth:`state_dict` has returned.
        """
        batches = self.dataloader.batch_sampler
        batches.seed = state['seed']
        if state['sampler_seed'] is not None:
            batches.sampler.seed = state['sampler_seed']
        self._num_done = state['num_done']
        if self._num_done and state['num_batches'] != len(batches):
            self.runner.logger.warning(
                f'The checkpoint was saved after batch {self._num_done} of '
                f'{state["num_batches"]}, but an epoch now has '
                f'{len(batches)} batches: the epoch starts again.'
            )
            self._num_done = 0

    def run(self) -> Any:
        """Train; a resumed run first makes a validation that is due."""
        self.runner.call_hook('before_train')
        if self._epoch > 0 and self._num_done == 0:
            self._validate_if_due()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train for one epoch, or for what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        start, self._num_done = self._num_done, 0
        self.dataloader.batch_sampler.start(self._epoch, start)
        with kept_random_state():
            batches = iter(self.dataloader)
        for idx, data_batch in enumerate(batches, start=start):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        due = (
            self._epoch % self.val_interval == 0
            or self._epoch == self._max_epochs
        )
        if (
            self.runner.val_loop is not None
            and self._epoch >= self.val_begin
            and due
        ):
            with kept_random_state():
                self.runner.val_loop.run()


class _LossLoop:
    """One pass that detects, and adds losses up where they are wanted.

    It stands before ValLoop or TestLoop among the bases of a loop.
    """

    _stage: str  # in the names of hooks and of the model's step
    _prefix: str  # what the names of losses begin with
    _losses: EvaluationLosses | None = None

    def _take_losses(self, runner: Runner, dataloader: Any) -> dict:
        """Prepare the losses; the config of the data loader that they need."""
        if not isinstance(dataloader, dict):
            raise TypeError(
                f'{type(self).__name__} changes the data loader before it is '
                'built and needs its config, got '
                f'{type(dataloader).__name__}: give a dict, or use '
                "val_cfg.type='ValLoop' and "
                "test_cfg.type='TestLoop'"
            )
        dataloader = with_masks(runner.model, dataloader)
        self._losses = EvaluationLosses(runner.model, dataloader)
        return dataloader

    def run(self) -> dict[str, float]:
        """Evaluate.

        Returns:
            The metrics and losses.
        """
        call_hook, stage = self.runner.call_hook, self._stage
        call_hook(f'before_{stage}')
        call_hook(f'before_{stage}_epoch')
        metrics = self._metrics()
        call_hook(f'after_{stage}_epoch', metrics=metrics)
        call_hook(f'after_{stage}')
        return metrics

    def _metrics(self) -> dict[str, float]:
        """What one pass over the data gives."""
        self.runner.model.eval()
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
        metrics = dict(self.evaluator.evaluate(len(self.dataloader.dataset)))
        if self._losses is not None:
            metrics.update(self._losses.means(self._prefix))
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Detect the objects of one batch.

        Args:
            idx: Number of the batch.
            data_batch: The batch.
        """
        if self._losses is None:
            super().run_iter(idx, data_batch)
            return
        stage = self._stage
        batch = dict(batch_idx=idx, data_batch=data_batch)
        self.runner.call_hook(f'before_{stage}_iter', **batch)
        step = getattr(self.runner.model, f'{stage}_step')
        with autocast(enabled=self.fp16):
            outputs = self._losses.run(step, data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(f'after_{stage}_iter', **batch, outputs=outputs)


@LOOPS.register_module()
class LossValLoop(_LossLoop, ValLoop):
    """ValLoop that computes the losses of validation as well.

    They are ``val/loss``, the weighted total, and ``val/`` with the name of
    each single loss, beside the metrics: in the log, for
    ``ReduceOnPlateauLR``, and for the hooks that keep the best. One pass of
    the network gives both. The training is the same to the bit.

    Args:
        runner: The runner.
        dataloader: Config of the data loader; its pipeline must load
            annotations. Masks are loaded for models that have some.
        *args: Further arguments of ValLoop.
        with_loss: Whether to compute losses.
        **kwargs: Keyword arguments of ValLoop.

    Raises:
        TypeError: If losses are wanted and ``dataloader`` is not a config.
        InputError: If the model gives no losses where it detects.

    Source: rfdetr 1.11.2, TrainConfig.compute_val_loss.
    """

    _stage, _prefix = 'val', 'val/'

    def __init__(
        self,
        runner: Runner,
        dataloader: dict,
        *args: Any,
        with_loss: bool = True,
        **kwargs: Any,
    ) -> None:
        if with_loss:
            dataloader = self._take_losses(runner, dataloader)
        super().__init__(runner, dataloader, *args, **kwargs)


@LOOPS.register_module()
class LossTestLoop(_LossLoop, TestLoop):
    """TestLoop that computes the losses of the test as well.

    They are ``test/loss`` and ``test/`` with the names of single losses, see
    :class:`LossValLoop`.

    Args:
        runner: The runner.
        dataloader: See :class:`LossValLoop`.
        *args: Further arguments of TestLoop.
        prefix: What the names of losses begin with.
        **kwargs: Keyword arguments of TestLoop.

    Raises:
        TypeError: If ``dataloader`` is not a config.
        InputError: If the model gives no losses where it detects.

    Source: rfdetr 1.11.2, TrainConfig.compute_test_loss.
    """

    _stage = 'test'

    def __init__(
        self,
        runner: Runner,
        dataloader: dict,
        *args: Any,
        prefix: str = 'test/',
        **kwargs: Any,
    ) -> None:
        dataloader = self._take_losses(runner, dataloader)
        self._prefix = prefix
        super().__init__(runner, dataloader, *args, **kwargs)


@LOOPS.register_module()
class TwoWeightsValLoop(LossValLoop):
    """Validate the averaged weights and then the plain ones.

    The metrics of the average keep their names, those of the plain weights
    get the prefix ``plain/``. So ``save_best=['coco/bbox_mAP',
    'plain/coco/bbox_mAP']`` of SafeCheckpointHook keeps the best of each.

    Args:
        *args: Arguments of LossValLoop.
        with_loss: Whether to compute losses, of both.
        **kwargs: Keyword arguments of LossValLoop.

    Source: rfdetr 1.11.2, TrainConfig.eval_base_model=True.
    """

    def __init__(
        self, *args: Any, with_loss: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, with_loss=with_loss, **kwargs)

    def _metrics(self) -> dict[str, float]:
        averages = [h for h in self.runner.hooks if isinstance(h, EMAHook)]
        if not averages:
            raise InputError(
                'TwoWeightsValLoop compares the weights with their average, '
                "but there is no EMAHook: set val_cfg.type='ValLoop' or add "
                'the hook'
            )
        # The average is in use since before_val_epoch.
        metrics = super()._metrics()
        averages[0]._swap_ema_parameters()
        plain = super()._metrics()
        averages[0]._swap_ema_parameters()
        metrics.update({f'plain/{name}': v for name, v in plain.items()})
        return metrics
