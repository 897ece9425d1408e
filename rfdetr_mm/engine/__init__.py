"""What training and loading need around the model.

Importing this package registers the checkpoint loaders with mmengine.
"""

from .autocast_optim_wrapper import AutocastOptimWrapper
from .checkpoint_loaders import register_checkpoint_loaders
from .cpu_processes import join_cpu_processes
from .ema import WarmupEMA
from .hooks import (
    ClassRowsHook,
    CompileHook,
    DropPathHook,
    FiniteLossHook,
    LateStoppingHook,
    MetricsCsvHook,
    ObjectAccumulationHook,
    OptimStepEMAHook,
    SafeCheckpointHook,
    SubnetHook,
)
from .loops import (
    LossTestLoop,
    LossValLoop,
    ResumableTrainLoop,
    TwoWeightsValLoop,
)
from .optim_wrapper_constructor import RFDETROptimWrapperConstructor
from .pose_visualizer import PoseLocalVisualizer
from .seeded_data import SeededBatchSampler, SeededDataset
from .sharded_runner import ShardedRunner
from .visualizer import ReadableDetVisualizer
from .warmup_lr import WarmupCosineLR, WarmupStepLR

register_checkpoint_loaders()

__all__ = [
    'AutocastOptimWrapper',
    'ClassRowsHook',
    'CompileHook',
    'DropPathHook',
    'FiniteLossHook',
    'LateStoppingHook',
    'LossTestLoop',
    'LossValLoop',
    'MetricsCsvHook',
    'ObjectAccumulationHook',
    'OptimStepEMAHook',
    'PoseLocalVisualizer',
    'RFDETROptimWrapperConstructor',
    'ReadableDetVisualizer',
    'ResumableTrainLoop',
    'SafeCheckpointHook',
    'SeededBatchSampler',
    'SeededDataset',
    'ShardedRunner',
    'SubnetHook',
    'TwoWeightsValLoop',
    'WarmupCosineLR',
    'WarmupEMA',
    'WarmupStepLR',
    'join_cpu_processes',
    'register_checkpoint_loaders',
]
