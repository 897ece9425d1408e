"""Mixed precision that needs no loss scale and does not wait for the GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from rfdetr_mm.errors import InputError
from rfdetr_mm.processor import usable_dtype
from rfdetr_mm.stack import autocast

DTYPES = ('bfloat16', 'float32')


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Forward and losses under autocast; weights and optimizer in float32.

    bfloat16 has float32's range, so gradients need no scale. mmengine's
    ``AmpOptimWrapper`` scales and checks them all the same, and waits in
    every step for the norm of the gradients before the optimizer may start.
    Here the norm is logged one step later, when it has long arrived.

    It works on CPUs too: one that has no units for bfloat16 trains in
    float32, with a warning.

    Args:
        dtype: 'bfloat16'; 'float32' switches it off. float16 needs
            ``AmpOptimWrapper``.
        **kwargs: Arguments of mmengine's ``OptimWrapper``.

    Raises:
        InputError: For another dtype.
    """

    def __init__(self, dtype: str = 'bfloat16', **kwargs: Any) -> None:
        if dtype not in DTYPES:
            raise InputError(
                f'AutocastOptimWrapper has no loss scale, so dtype is one of '
                f'{DTYPES}, got {dtype!r}; for float16 set '
                "type='AmpOptimWrapper' and loss_scale='dynamic'"
            )
        super().__init__(**kwargs)
        self.dtype = getattr(torch, dtype)
        self._device: torch.device | None = None
        self._norm: Tensor | None = None
        self._arrived: torch.cuda.Event | None = None

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Forward and losses of a step.

        Args:
            model: The model, with its weights on the device of the step.
        """
        device = next(model.parameters()).device
        # It looks at the processor, and warns, only once: float32 stays.
        if device != self._device:
            self.dtype = usable_dtype(self.dtype, device)
            self._device = device
        with autocast(device.type, self.dtype), super().optim_context(model):
            yield

    def _clip_grad(self) -> None:
        params = [
            param
            for group in self.optimizer.param_groups
            for param in group['params']
            if param.grad is not None
        ]
        if not params:
            return
        norm = self.clip_func(params, **self.clip_grad_kwargs)
        self._log_last_norm()
        if isinstance(norm, Tensor):
            self._norm = norm.detach().to('cpu', non_blocking=True)
            if norm.is_cuda:
                self._arrived = torch.cuda.Event()
                self._arrived.record()

    def _log_last_norm(self) -> None:
        if self._norm is None:
            return
        if self._arrived is not None:
            self._arrived.synchronize()
        self.message_hub.update_scalar(
            f'train/{self.grad_name}', float(self._norm)
        )
