"""Hooks for mmengine's Runner."""

from .class_rows_hook import ClassRowsHook
from .drop_path_hook import DropPathHook
from .optim_step_ema_hook import OptimStepEMAHook
from .safe_checkpoint_hook import SafeCheckpointHook

__all__ = [
    'ClassRowsHook',
    'DropPathHook',
    'OptimStepEMAHook',
    'SafeCheckpointHook',
]
