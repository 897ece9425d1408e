"""Where a graph computes in int8, written into the graph, for TensorRT."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx

from ..fp16_matrices import is_reducible
from ..quantization import calibration_reader


def to_int8_matrices(
    file: str | Path, calibration: Iterable[np.ndarray]
) -> onnx.ModelProto:
    """Quantise products with weights and convolutions, in the graph.

    Weights per channel and activations per tensor, both symmetric, as
    TensorRT wants them; products of two activations stay as they are.

    Args:
        file: An ONNX file in fp32.
        calibration: Normalised images, shape (bs, channels, h_px, w_px) each.

    Returns:
        The graph with QuantizeLinear and DequantizeLinear.

    Raises:
        InputError: If the images are of another shape than the file's.
    """
    from onnxruntime import quantization

    graph = onnx.load(str(file)).graph
    weights = {item.name for item in graph.initializer}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, 'int8.onnx')
        quantization.quantize_static(
            str(file),
            str(target),
            calibration_reader(Path(file), calibration),
            quant_format=quantization.QuantFormat.QDQ,
            nodes_to_quantize=[
                node.name
                for node in graph.node
                if is_reducible(node) and node.input[1] in weights
            ],
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options=dict(
                ActivationSymmetric=True,
                WeightSymmetric=True,
                QuantizeBias=False,
            ),
        )
        return onnx.load(str(target))
