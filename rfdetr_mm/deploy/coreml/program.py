"""The program that coremltools converts: the graph as it is."""

from typing import Any

from mmdeploy.core import FUNCTION_REWRITER
from mmdeploy.utils import IR, Backend
from torch import Tensor, nn

from ..program import Program, prepare_graph


@FUNCTION_REWRITER.register_rewriter(
    'torch.jit.trace', backend=Backend.COREML.value, ir=IR.TORCHSCRIPT
)
def make_program(
    func: nn.Module, example_inputs: Tensor, **kwargs: Any
) -> Program:
    """Prepare the export of a model where mmdeploy would trace it.

    Args:
        func: The model, its parts replaced by graphs.
        example_inputs: Images, shape (bs, channels, h_px, w_px).
        **kwargs: Not used; part of the interface of ``torch.jit.trace``.

    Returns:
        The program.
    """
    cfg = FUNCTION_REWRITER.get_context().cfg
    return Program(*prepare_graph(func, example_inputs, cfg, 'Core ML'))
