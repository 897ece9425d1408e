"""Hooks for mmengine's Runner."""

from .class_rows_hook import ClassRowsHook
from .compile_hook import CompileHook
from .drop_path_hook import DropPathHook
from .finite_loss_hook import FiniteLossHook
from .late_stopping_hook import LateStoppingHook
from .metrics_csv_hook import MetricsCsvHook
from .object_accumulation_hook import ObjectAccumulationHook
from .optim_step_ema_hook import OptimStepEMAHook
from .progress_hook import ProgressHook, SignOfLifeHook
from .safe_checkpoint_hook import SafeCheckpointHook
from .subnet_hook import SubnetHook

__all__ = [
    'ClassRowsHook',
    'CompileHook',
    'DropPathHook',
    'FiniteLossHook',
    'LateStoppingHook',
    'MetricsCsvHook',
    'ObjectAccumulationHook',
    'OptimStepEMAHook',
    'ProgressHook',
    'SafeCheckpointHook',
    'SignOfLifeHook',
    'SubnetHook',
]
