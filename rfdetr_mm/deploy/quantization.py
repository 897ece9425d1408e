"""Int8 ONNX files, by ONNX Runtime's own quantisation."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx

from rfdetr_mm.errors import InputError
from rfdetr_runtime.metadata import read_metadata

from .onnx_file import add_metadata

# The head picks and places boxes by small differences, and takes a tenth of
# the time: it stays float32, and so does the first layer.
QUANTIZED_PARTS = ('/backbone/', '/neck/')
FLOAT_PARTS = ('/backbone/patch_embed/',)


def quantize(
    source: Path,
    target: Path,
    calibration: Iterable[np.ndarray] | None = None,
) -> None:
    """Write an int8 copy of a float32 file.

    Weights are int8 per channel. Without images, activations of the matrix
    products are quantised while the model runs (dynamic); with images, those
    of convolutions too, by ranges found now (static).

    Args:
        source: A file written by :func:`export_onnx`.
        target: Where the int8 file goes; replaced.
        calibration: Normalised images, shape (bs, channels, h_px, w_px) each.

    Raises:
        InputError: If the images are of another shape than the file's.
    """
    from onnxruntime.quantization import (
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    # Weights of 7 bits: processors without VNNI add two products of 8 bits in
    # a number of 16, which saturates at larger ones.
    options = dict(
        per_channel=True, weight_type=QuantType.QInt8, reduce_range=True
    )
    if calibration is None:
        proto = onnx.load(str(source))
        give_each_gemm_its_weights(proto.graph)
        quantize_dynamic(
            proto,
            target,
            op_types_to_quantize=['MatMul'],
            # The tool writes each Gemm as a MatMul and an Add before.
            nodes_to_quantize=[
                f'{name}_MatMul' for name in quantized_nodes(source, 'Gemm')
            ],
            **options,
        )
    else:
        quantize_static(
            source,
            target,
            calibration_reader(source, calibration),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            nodes_to_quantize=quantized_nodes(source, 'Gemm', 'Conv'),
            **options,
        )
    proto = onnx.load(str(target))
    kind = 'int8-dynamic' if calibration is None else 'int8'
    add_metadata(proto, {**read_metadata(source), 'precision': kind})
    onnx.save(proto, str(target))


def give_each_gemm_its_weights(graph: onnx.GraphProto) -> None:
    """Copy weights that a Gemm shares with other nodes, in place.

    The exporter writes equal weights once. ONNX Runtime transposes those of
    each Gemm in place, so shared ones more than once.

    Args:
        graph: The graph of a float32 file.

    Source: onnxruntime 1.31.1, ONNXModel.replace_gemm_with_matmul.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    for i, node in enumerate(graph.node):
        if node.op_type != 'Gemm':
            continue
        name = node.input[1]
        if name in tensors and uses[name] > 1:
            uses[name] -= 1
            graph.initializer.add().CopyFrom(tensors[name])
            node.input[1] = graph.initializer[-1].name = f'{name}_{i}'


def quantized_nodes(source: Path, *op_types: str) -> list[str]:
    """Names of the nodes that become int8."""
    graph = onnx.load(str(source), load_external_data=False).graph
    return [
        node.name
        for node in graph.node
        if node.op_type in op_types
        and node.name.startswith(QUANTIZED_PARTS)
        and not node.name.startswith(FLOAT_PARTS)
    ]


def calibration_reader(source: Path, images: Iterable[np.ndarray]) -> object:
    """Hand images to ONNX Runtime's calibration.

    Args:
        source: The float32 file.
        images: See :func:`quantize`.

    Returns:
        A ``CalibrationDataReader``.
    """
    from onnxruntime.quantization import CalibrationDataReader

    (given,) = onnx.load(str(source), load_external_data=False).graph.input
    dims = given.type.tensor_type.shape.dim
    wanted = [dim.dim_value for dim in dims]  # 0: any

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.images, None)
            if batch is None:
                return None
            if any(w not in (0, b) for w, b in zip(wanted, batch.shape)):
                raise InputError(
                    f'images for calibration are of shape {batch.shape}, '
                    f'{source} takes {tuple(wanted)}'
                )
            return {given.name: np.ascontiguousarray(batch, np.float32)}

    return Reader()
