"""Upstream's exponential moving average of the weights."""

import logging
import math

import torch
from mmdet.registry import MODELS
from mmengine.logging import print_log
from mmengine.model import BaseAveragedModel
from torch import Tensor, nn

from rfdetr_mm.checkpoints import all_finite
from rfdetr_mm.errors import InputError


@MODELS.register_module()
class WarmupEMA(BaseAveragedModel):
    """Average of parameters and buffers that forgets its start quickly.

    Update n = 1 copies the model. Update n = 2, 3, ... keeps the part
    ``decay * (1 - exp(-n / tau))`` of the average. Buffers are averaged as
    well, integer ones are copied.

    Weights that are not finite are passed over with one warning: one NaN
    would stay in the average for ever.

    Args:
        model: The model to average.
        decay: Part that is kept in the long run.
        tau: Updates after which about 63 % of ``decay`` is reached; 0 for
            no warm-up.

    Raises:
        InputError: If ``decay`` is not in [0, 1] or ``tau`` negative.

    Source: rfdetr 1.11.2, training/callbacks/ema.py, RFDETREMACallback, on
        torch.optim.swa_utils.AveragedModel, which copies first.
    """

    def __init__(
        self, model: nn.Module, decay: float = 0.993, tau: float = 100
    ) -> None:
        if not 0 <= decay <= 1 or tau < 0:
            raise InputError(
                'WarmupEMA keeps decay * (1 - exp(-n / tau)) of the average '
                'and needs decay in [0, 1] and tau of at least 0, got decay='
                f'{decay} and tau={tau}'
            )
        super().__init__(model, update_buffers=True)
        self.decay = decay
        self.tau = tau
        self._num_left_out = 0

    def kept(self, update: int) -> float:
        """Part of the average that update n = 2, 3, ... keeps."""
        if self.tau == 0:
            return self.decay
        return self.decay * (1 - math.exp(-update / self.tau))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the model, in place.

        Args:
            model: The model as it is after the optimizer's step.
        """
        source = model.state_dict()
        if not all_finite(source[name] for name in self.avg_parameters):
            self._warn_once()
            return
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for name, average in self.avg_parameters.items():
            value = source[name].to(average.device)
            if self.steps == 0 or not average.is_floating_point():
                average.copy_(value)
            else:
                averages.append(average)
                values.append(value)
        self.steps += 1
        if averages:
            kept = self.kept(int(self.steps))
            # Few kernels instead of two for every tensor.
            torch._foreach_mul_(averages, kept)
            torch._foreach_add_(averages, values, alpha=1 - kept)

    def _warn_once(self) -> None:
        self._num_left_out += 1
        if self._num_left_out == 1:
            print_log(
                'The weights are not finite (nan or inf) after a step: from '
                'now on such weights are left out of the average.',
                logger='current',
                level=logging.WARNING,
            )

    def avg_func(
        self, averaged_param: Tensor, source_param: Tensor, steps: int
    ) -> None:
        """Average one tensor, in place; part of mmengine's interface.

        Args:
            averaged_param: The average.
            source_param: The model's value, of the same shape.
            steps: Updates so far.
        """
        kept = self.kept(steps + 1)
        averaged_param.mul_(kept).add_(source_param, alpha=1 - kept)
