"""Upstream's two learning rate schedules, both with a linear warm-up."""

import logging
import math
from abc import abstractmethod

from mmdet.registry import PARAM_SCHEDULERS
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch.optim import Optimizer

from rfdetr_mm.errors import InputError


class _WarmupLR(LRSchedulerMixin, _ParamScheduler):
    """A factor on every group's learning rate, by optimizer step.

    The factor of step s = 0, 1, ... is s / warm-up steps first, so the very
    first step of a warm-up changes nothing, and the subclass's afterwards.
    mmengine's schedulers count iterations; with gradient accumulation the
    wrapper's ``accumulative_counts`` of them make one step.
    """

    def __init__(
        self,
        optimizer: Optimizer | OptimWrapper,
        warmup: float = 0,
        epoch_length: int = 1,
        end: int = 1,
        last_step: int = -1,
    ) -> None:
        accumulated = getattr(optimizer, '_accumulative_counts', 1)
        if warmup < 0:
            raise InputError(
                f'warmup is a number of epochs of at least 0, got {warmup}'
            )
        self.iters_per_step = accumulated
        self.steps_per_epoch = max(1, epoch_length // accumulated)
        self.warmup_steps = int(self.steps_per_epoch * warmup)
        self.total_steps = self.steps_per_epoch * end
        self.num_iters = -1
        super().__init__(optimizer, last_step=last_step, by_epoch=False)

    @classmethod
    def build_iter_from_epoch(cls, *, by_epoch: bool = True, **kwargs):
        """Build it from a config with ``convert_to_iter_based=True``.

        Args:
            by_epoch: True; ``convert_to_iter_based`` asks for it.
            **kwargs: Arguments of the class. mmengine sets ``optimizer``,
                ``epoch_length`` (iterations) and ``end`` (epochs).
        """
        return cls(**kwargs)

    def state_dict(self) -> dict:
        """Return where the schedule stands; its shape is the config's."""
        names = ('num_iters', 'last_step', '_global_step', '_last_value')
        return {name: getattr(self, name) for name in (*names, 'base_values')}

    def load_state_dict(self, state_dict: dict) -> None:
        """Stand where a schedule stood, with the rates of this config.

        The optimizer has just got the learning rates of the file; those of
        the config, which may have been changed since, replace them.

        Args:
            state_dict: What :meth:`state_dict` has returned.
        """
        rates = self.base_values
        super().load_state_dict(state_dict)
        if list(self.base_values) != list(rates):
            print_log(
                'The resumed training had learning rates up to '
                f'{max(self.base_values):g}; it goes on with those of the '
                f'config, up to {max(rates):g} (before warm-up and decay).',
                logger='current',
                level=logging.WARNING,
            )
        self.base_values = rates
        self._last_value = self._get_value()
        for group, base, rate in zip(
            self.optimizer.param_groups, rates, self._last_value
        ):
            group.update(lr=rate, initial_lr=base)

    def step(self) -> None:
        """Count an iteration; adjust the rates if it ended a step."""
        self.num_iters += 1
        if self.num_iters % self.iters_per_step == 0:
            super().step()

    def _get_value(self) -> list[float]:
        step = self.last_step
        if step < self.warmup_steps:
            factor = step / self.warmup_steps
        else:
            factor = self._factor(step)
        return [base * factor for base in self.base_values]

    @abstractmethod
    def _factor(self, step: int) -> float:
        """Factor of an optimizer step after the warm-up."""


@PARAM_SCHEDULERS.register_module()
class WarmupStepLR(_WarmupLR):
    """Linear warm-up, the full rate, and a tenth of it after ``drop``.

    In a config: ``dict(type='WarmupStepLR', convert_to_iter_based=True,
    warmup=1, drop=100)``. The rate changes with every optimizer step.

    Args:
        optimizer: The optimizer or its wrapper.
        drop: Epoch, counted from 0, that starts with a tenth of the rate.
        warmup: Length of the warm-up in epochs; fractions are allowed.
        epoch_length: Iterations per epoch, set by mmengine.
        end: Epochs of the run, set by mmengine.
        last_step: mmengine's; -1 starts anew.

    Raises:
        InputError: If ``warmup`` or ``drop`` is negative.

    Source: rfdetr 1.11.2, training/module_model.py,
        _build_managed_scheduler with lr_scheduler='step'.
    """

    def __init__(
        self,
        optimizer: Optimizer | OptimWrapper,
        drop: int = 100,
        warmup: float = 0,
        epoch_length: int = 1,
        end: int = 1,
        last_step: int = -1,
    ) -> None:
        if drop < 0:
            raise InputError(
                f'drop is an epoch, counted from 0, of at least 0, got {drop}'
            )
        self.drop = drop
        super().__init__(optimizer, warmup, epoch_length, end, last_step)

    def _factor(self, step: int) -> float:
        return 1.0 if step < self.drop * self.steps_per_epoch else 0.1


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_WarmupLR):
    """Linear warm-up, then half a cosine down to ``min_factor``.

    In a config: ``dict(type='WarmupCosineLR', convert_to_iter_based=True,
    warmup=1)``. The rate changes with every optimizer step.

    Args:
        optimizer: The optimizer or its wrapper.
        min_factor: Part of the rate that would be left one step after the
            last.
        warmup: Length of the warm-up in epochs; fractions are allowed.
        epoch_length: Iterations per epoch, set by mmengine.
        end: Epochs of the run, set by mmengine.
        last_step: mmengine's; -1 starts anew.

    Raises:
        InputError: If ``warmup`` is negative or ``min_factor`` not in
            [0, 1].

    Source: rfdetr 1.11.2, training/module_model.py,
        _build_managed_scheduler with lr_scheduler='cosine'.
    """

    def __init__(
        self,
        optimizer: Optimizer | OptimWrapper,
        min_factor: float = 0.0,
        warmup: float = 0,
        epoch_length: int = 1,
        end: int = 1,
        last_step: int = -1,
    ) -> None:
        if not 0 <= min_factor <= 1:
            raise InputError(
                'min_factor is a part of the learning rate between 0 and 1, '
                f'got {min_factor}'
            )
        self.min_factor = min_factor
        super().__init__(optimizer, warmup, epoch_length, end, last_step)

    def _factor(self, step: int) -> float:
        length = max(1, self.total_steps - self.warmup_steps)
        # The scheduler steps once more after the last iteration.
        progress = min(1.0, (step - self.warmup_steps) / length)
        wave = 0.5 * (1 + math.cos(math.pi * progress))
        return self.min_factor + (1 - self.min_factor) * wave
