"""The program that ExecuTorch lowers: the graph as it is."""

from typing import Any

from mmdeploy.core import FUNCTION_REWRITER
from mmdeploy.utils import IR
from torch import Tensor, nn

from ..program import Program, prepare_graph
from .names import BACKEND_NAME


@FUNCTION_REWRITER.register_rewriter(
    'torch.jit.trace', backend=BACKEND_NAME, ir=IR.TORCHSCRIPT
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
    return Program(*prepare_graph(func, example_inputs, cfg, 'ExecuTorch'))
