"""What training and loading need around the model.

Importing this package registers the checkpoint loaders with mmengine.
"""

from .checkpoint_loaders import register_checkpoint_loaders
from .hooks import ClassRowsHook
from .optim_wrapper_constructor import RFDETROptimWrapperConstructor

register_checkpoint_loaders()

__all__ = [
    'ClassRowsHook',
    'RFDETROptimWrapperConstructor',
    'register_checkpoint_loaders',
]
