"""From a program of torch.export to the content of an ExecuTorch file."""

import json
import os

import torch
from torch.fx import Node

from rfdetr_runtime.metadata import NAME

from ..program import load_program

# Products with weights and convolutions are what is quantised: nearly all of
# the weights and of the arithmetic. Norms, softmax, products of activations,
# sampling and the choice of queries stay in float32,
QUANTISED_OPERATORS = ('linear', 'conv2d')
# and so does the head, which picks and places the boxes.
FLOAT_PART = 'bbox_head'


def to_executorch(
    program_file: str | os.PathLike[str],
    precision: str = 'fp32',
) -> bytes:
    """Convert a program; XNNPACK runs what it can of it.

    Args:
        program_file: What :meth:`~rfdetr_mm.deploy.program.Program.save`
            wrote.
        precision: 'fp32'; 'int8-dynamic', weights in int8 and activations
            quantised while it runs. XNNPACK of ExecuTorch 1.5.1 does not load
            the graph with activations that were quantised beforehand.

    Returns:
        The content of a ``.pte`` file. Its metadata are what the method
        ``rfdetr_mm`` returns, a text that is JSON.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower

    exported, facts = load_program(program_file)
    if precision != 'fp32':
        exported = quantise(exported)
    facts = {**facts, 'precision': precision}
    lowered = to_edge_transform_and_lower(
        exported,
        partitioner=[XnnpackPartitioner()],
        constant_methods={NAME: json.dumps(facts)},
    )
    return bytes(lowered.to_executorch().buffer)


def quantise(
    exported: torch.export.ExportedProgram,
) -> torch.export.ExportedProgram:
    """Quantise backbone and neck of a program, activations while it runs.

    Args:
        exported: The program, in float32.

    Returns:
        The quantised program; its inputs and outputs are float32.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import (
        convert_pt2e,
        prepare_pt2e,
    )

    (example,) = exported.example_inputs[0]
    config = get_symmetric_quantization_config(
        is_per_channel=True, is_dynamic=True
    )
    quantizer = XNNPACKQuantizer().set_filter_function(_is_quantised)
    for name in QUANTISED_OPERATORS:
        operator = getattr(torch.ops.aten, name).default
        quantizer.set_operator_type(operator, config)
    prepared = prepare_pt2e(exported.module(), quantizer)
    with torch.no_grad():
        converted = convert_pt2e(prepared)
        return torch.export.export(converted, (example,))


def _is_quantised(node: Node) -> bool:
    """Whether a node is of backbone or neck."""
    stack = node.meta.get('nn_module_stack') or {}
    return not any(FLOAT_PART in path for path, _ in stack.values())
