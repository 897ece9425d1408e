"""Where a graph computes in fp16, written into the graph."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Nearly all of the arithmetic; norms, softmax, sampling and the choice of
# queries stay in fp32,
MATRIX_OPERATORS = ('MatMul', 'Gemm', 'Conv')
# and so do the small products that place boxes and sampling points.
FP32_LAYERS = ('reg_branch', 'pos_fc', 'offsets_weights')
MAX_FP16 = 65504.0


def to_fp16_matrices(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let matrix products and convolutions compute in fp16.

    Their inputs are cast to fp16 and their results back to fp32, so that a
    strongly typed engine does the same, and any ONNX runtime as well: nothing
    is left to a converter's list of operators, whose mixtures of types ONNX
    Runtime may refuse. Those
    that are quantised, or whose weights do not fit into fp16, are left alone.

    Args:
        model: A graph in fp32; not changed.

    Returns:
        The graph with casts.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {item.name: item for item in graph.initializer}
    quantised = {
        node.output[0]
        for node in graph.node
        if node.op_type == 'DequantizeLinear'
    }
    casts: dict[str, str] = {}  # fp32 value to its fp16 counterpart
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if (
            not is_reducible(node)
            or quantised & set(node.input)
            or not _fits(node, weights)
        ):
            nodes.append(node)
            continue
        for i, name in enumerate(node.input):
            if name not in casts:
                casts[name] = f'{name}_fp16'
                if name in weights:
                    array = numpy_helper.to_array(weights[name])
                    graph.initializer.append(
                        numpy_helper.from_array(
                            array.astype(np.float16), casts[name]
                        )
                    )
                else:
                    nodes.append(_cast(name, casts[name], TensorProto.FLOAT16))
            node.input[i] = casts[name]
        output = node.output[0]
        node.output[0] = f'{output}_in_fp16'
        nodes.append(node)
        nodes.append(_cast(node.output[0], output, TensorProto.FLOAT))
    _replace(graph.node, nodes)
    _drop_unused_weights(graph)
    # Of fp32; kept, it would contradict the casts.
    del graph.value_info[:]
    onnx.checker.check_model(result)
    return result


def is_reducible(node: onnx.NodeProto) -> bool:
    """Whether a node may compute in less than fp32.

    Args:
        node: A node of an exported graph.
    """
    return node.op_type in MATRIX_OPERATORS and not any(
        layer in node.name for layer in FP32_LAYERS
    )


def _fits(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    arrays = [
        numpy_helper.to_array(weights[name])
        for name in node.input
        if name in weights
    ]
    return all(
        array.dtype == np.float32 and np.abs(array).max(initial=0) < MAX_FP16
        for array in arrays
    )


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node(
        'Cast', [source], [target], f'cast_{target}', to=to
    )


def _replace(field: Sequence, items: Sequence) -> None:
    kept = list(items)
    del field[:]
    field.extend(kept)


def _drop_unused_weights(graph: onnx.GraphProto) -> None:
    used = Counter(name for node in graph.node for name in node.input)
    used.update(output.name for output in graph.output)
    _replace(graph.initializer, [w for w in graph.initializer if used[w.name]])
