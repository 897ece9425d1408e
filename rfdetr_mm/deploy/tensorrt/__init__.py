"""TensorRT for mmdeploy, through the API of current releases.

mmdeploy 1.3.1 uses bindings and ``max_workspace_size``, which TensorRT no
longer has, and leaves the precision of every layer to the builder. Here the
ONNX file says where fp16 and int8 are, and the engine is strongly typed.
"""

from mmdeploy.core import FUNCTION_REWRITER
from mmdeploy.pytorch.functions.interpolate import interpolate__tensorrt

from . import manager

# It makes bicubic resizing a plugin and fails on the antialiased one that
# resizes the position table while the graph is built.
FUNCTION_REWRITER._registry.remove_record(interpolate__tensorrt)

__all__ = ['manager']
