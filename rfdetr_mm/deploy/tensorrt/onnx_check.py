"""Whether TensorRT's ONNX parser can read a graph, as far as documented."""

import onnx

# Of those that TensorRT 10's parser lists as supported: what exports of
# RF-DETR may contain. Source: onnx-tensorrt 10.1-GA, docs/operators.md;
# LayerNormalization came with 8.6, says its docs/Changelog.md.
SUPPORTED_OPERATORS = frozenset(
    """
    Abs Add And Cast Ceil Clip Concat Constant ConstantOfShape Conv Cos
    DequantizeLinear Div Einsum Equal Erf Exp Expand Flatten Floor Gather
    GatherElements GatherND Gelu Gemm Greater GreaterOrEqual GridSample
    Identity LayerNormalization Less LessOrEqual Log MatMul Max Min Mod Mul Neg
    Not Or Pad Pow QuantizeLinear Range Reciprocal ReduceMax ReduceMean
    ReduceMin ReduceSum Relu Reshape Resize ScatterElements ScatterND Shape
    Sigmoid Sin Slice Softmax Split Sqrt Squeeze Sub Tile TopK Transpose
    Unsqueeze Where
    """.split()
)
# Of the same page,
MAX_OPSET = 20
TOO_MANY_FOR_TOPK = 3840
# and of nvinfer1::Dims64::MAX_DIMS.
MAX_RANK = 8


def unsupported(model: onnx.ModelProto) -> list[str]:
    """What TensorRT's parser is known to refuse.

    Args:
        model: A graph.

    Returns:
        One line for each reason; none if it should be read.
    """
    graph = model.graph
    problems = [
        f'operator {node.domain or "ai.onnx"}::{node.op_type} is not among '
        "those that TensorRT's parser documents"
        for node in graph.node
        if node.domain not in ('', 'ai.onnx')
        or node.op_type not in SUPPORTED_OPERATORS
    ]
    problems += [
        f'operator set {entry.version} is later than {MAX_OPSET}'
        for entry in model.opset_import
        if entry.domain in ('', 'ai.onnx') and entry.version > MAX_OPSET
    ]
    for value in graph.input:
        sides = value.type.tensor_type.shape.dim[1:]
        if any(not side.dim_value for side in sides):
            problems.append(
                f'input {value.name} has a dynamic side; only the batch may be'
            )
    constants = {item.name: item for item in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Constant':
            constants.update({node.output[0]: node.attribute[0].t})
    for node in graph.node:
        if node.op_type != 'TopK':
            continue
        count = constants.get(node.input[1])
        if count is None:
            problems.append(f'{node.name}: k of TopK is not a constant')
        elif onnx.numpy_helper.to_array(count).max() >= TOO_MANY_FOR_TOPK:
            problems.append(
                f'{node.name}: k of TopK is not below {TOO_MANY_FOR_TOPK}'
            )
    inferred = onnx.shape_inference.infer_shapes(model)
    problems += [
        f'{value.name} has more than {MAX_RANK} dimensions'
        for value in inferred.graph.value_info
        if len(value.type.tensor_type.shape.dim) > MAX_RANK
    ]
    return sorted(set(problems))
