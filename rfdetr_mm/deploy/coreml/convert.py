"""From a program of torch.export to an ML package of Core ML."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from ..program import load_program

# The head picks and places the boxes: in float16 files it stays float32.
FLOAT_PART = 'bbox_head'


def to_coreml(
    program_file: str | os.PathLike[str], precision: str = 'fp32'
) -> Any:
    """Convert a program.

    Args:
        program_file: What :meth:`~rfdetr_mm.deploy.program.Program.save`
            wrote.
        precision: 'fp32'; 'fp16', weights and arithmetic of backbone and neck
            in float16, inputs, outputs and the head in float32.

    Returns:
        The ``coremltools.models.MLModel``, for iOS 17, macOS 14 and later. Its
        ``user_defined_metadata`` are those of the model.
    """
    import coremltools

    exported, facts = load_program(program_file)
    exported = exported.run_decompositions({})
    remove_aliases(exported.graph)
    compute = coremltools.precision.FLOAT32
    if precision == 'fp16':
        compute = coremltools.transform.FP16ComputePrecision(
            op_selector=outside_of(names_of_head(exported.graph))
        )
    (example,) = exported.example_inputs[0]
    with integer_division():
        model = coremltools.convert(
            exported,
            inputs=[
                coremltools.TensorType(
                    name='input', shape=tuple(example.shape), dtype=np.float32
                )
            ],
            outputs=[
                coremltools.TensorType(name=name, dtype=dtype)
                for name, dtype in zip(
                    json.loads(facts['output_names']),
                    output_types(exported.graph),
                    strict=True,
                )
            ],
            minimum_deployment_target=coremltools.target.iOS17,
            compute_precision=compute,
            skip_model_load=True,
        )
    model.user_defined_metadata.update({**facts, 'precision': precision})
    return model


def remove_aliases(graph: torch.fx.Graph) -> None:
    """Take out nodes that only give a tensor another name, in place.

    coremltools 9.0 does not know them.

    Args:
        graph: The graph of an exported program.
    """
    for node in list(graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def output_types(graph: torch.fx.Graph) -> list[type]:
    """Types of the outputs: what is not said, float16 arithmetic changes.

    Args:
        graph: The graph of an exported program.
    """
    (outputs,) = graph.output_node().args
    return [
        np.float32 if node.meta['val'].is_floating_point() else np.int32
        for node in outputs
    ]


def names_of_head(graph: torch.fx.Graph) -> set[str]:
    """Names of the nodes that belong to the head.

    Args:
        graph: The graph of an exported program.
    """
    return {node.name for node in graph.nodes if _is_of_head(node)}


def _is_of_head(node: Node) -> bool:
    stack = node.meta.get('nn_module_stack') or {}
    return any(FLOAT_PART in path for path, _ in stack.values())


def outside_of(names: set[str]) -> Callable[[Any], bool]:
    """Choose the operations that do not depend on some of them.

    Operations that coremltools puts in have names of their own, so that what
    comes after a named one belongs to it.

    Args:
        names: Names of the operations that are left out.

    Returns:
        Whether an operation of Core ML neither has one of the names nor
        follows one that has.
    """
    known: dict[Any, bool] = {}

    def follows(op: Any) -> bool:
        if op not in known:
            known[op] = op.name in names or any(
                follows(value.op)
                for values in op.inputs.values()
                for value in (
                    values if isinstance(values, (list, tuple)) else [values]
                )
                if value is not None and value.op is not None
            )
        return known[op]

    return lambda op: not follows(op)


@contextmanager
def integer_division() -> Iterator[None]:
    """Let coremltools divide integers as PyTorch does.

    coremltools 9.0 divides all numbers in floating point and gives floats, so
    that quotients cannot be indices, and are rounded in float16.
    """
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.torch_op_registry import (
        _TORCH_OPS_REGISTRY,
    )
    from coremltools.converters.mil.mil import types

    functions = _TORCH_OPS_REGISTRY.name_to_func_mapping
    original = functions['div']

    def divide(context: Any, node: Any) -> None:
        x, y = ops._get_inputs(context, node)[:2]
        is_rounded = 'rounding_mode' in (node.kwinputs or ())
        if is_rounded and types.is_int(x.dtype) and types.is_int(y.dtype):
            # Also for 'trunc', as ranks and counts are not negative.
            context.add(Builder.floor_div(x=x, y=y, name=node.name))
        else:
            original(context, node)

    functions['div'] = divide
    try:
        yield
    finally:
        functions['div'] = original
