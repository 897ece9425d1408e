"""From a program of torch.export to the content of a TFLite file."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch

from rfdetr_mm.errors import InputError
from rfdetr_runtime.metadata import NAME

from ..program import load_program

SIGNATURE = 'serving_default'
# Products with weights and convolutions are what is quantised: nearly all of
# the weights and of the arithmetic. Norms, softmax, products of activations,
# sampling and the choice of queries stay in float32,
QUANTISED_OPERATORS = ('FULLY_CONNECTED', 'CONV_2D')
# and so do the small layers that place boxes and sampling points, by the
# names that litert-torch gives their results: the box branches have no names
# but numbers.
FLOAT_LAYERS = (
    r'Linear_(pos_fc|offsets_weights)'
    r'|(DetectorGraph_\w+|SelectorGraph_\w+)/[\w.]+\.Linear_\d'
)


def to_tflite(
    program_file: str | os.PathLike[str],
    precision: str = 'fp32',
    calibration: Iterable[np.ndarray] | None = None,
) -> bytes:
    """Convert a program.

    Args:
        program_file: What :meth:`Program.save` wrote.
        precision: 'fp32'; 'fp16', weights alone; 'int8-dynamic', weights in
            int8 and activations quantised while it runs; 'int8', activations
            quantised by their ranges over the calibration images.
        calibration: Normalised images for 'int8', shape (bs, channels, h_px,
            w_px) each.

    Returns:
        The content of a ``.tflite`` file.
    """
    import litert_torch

    exported, facts = load_program(program_file)
    module = exported.module()
    # Nothing of a program depends on the mode, and eval() is refused.
    module.training = False
    with torch.no_grad():
        model = litert_torch.signature(
            SIGNATURE, module, sample_kwargs=exported.example_inputs[1]
        ).convert()
    content = model.model_content()
    if precision != 'fp32':
        content = quantise(content, precision, calibration)
    return add_metadata(content, {**facts, 'precision': precision})


def quantise(
    content: bytes,
    precision: str,
    calibration: Iterable[np.ndarray] | None = None,
) -> bytes:
    """Quantise a float32 TFLite model.

    Args:
        content: The content of the ``.tflite`` file.
        precision: See :func:`to_tflite`; not 'fp32'.
        calibration: See :func:`to_tflite`.

    Returns:
        The content of the quantised file.
    """
    from ai_edge_quantizer import qtyping, quantizer

    work = quantizer.Quantizer(bytearray(content))
    for name in QUANTISED_OPERATORS:
        operator = qtyping.TFLOperationName[name]
        if precision == 'fp16':
            work.add_weight_only_config(
                '.*',
                operator,
                num_bits=16,
                granularity=qtyping.QuantGranularity.TENSORWISE,
                algorithm_key=quantizer.AlgorithmName.FLOAT_CASTING,
            )
        elif precision == 'int8-dynamic':
            work.add_dynamic_config('.*', operator, num_bits=8)
        else:
            work.add_static_config(
                '.*', operator, activation_num_bits=8, weight_num_bits=8
            )
    for name in QUANTISED_OPERATORS:
        work.update_quantization_recipe(
            FLOAT_LAYERS,
            qtyping.TFLOperationName[name],
            algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE,
        )
    ranges = None
    if work.need_calibration:
        # A list, as it is gone through more than once
        samples = list(_samples(content, calibration))
        ranges = work.calibrate({SIGNATURE: samples})
    return bytes(work.quantize(ranges).quantized_model)


def _samples(
    content: bytes, calibration: Iterable[np.ndarray]
) -> Iterator[dict[str, np.ndarray]]:
    """Images as the file takes them."""
    from ai_edge_litert.interpreter import Interpreter

    (details,) = Interpreter(model_content=content).get_input_details()
    wanted = tuple(int(side) for side in details['shape'])
    for images in calibration:
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        if images.shape[1:] != wanted[1:]:
            raise InputError(
                'images for calibration are of (H, W, C) '
                f'{images.shape[1:]}, the model takes {wanted[1:]}'
            )
        # One image for each place of the batch
        yield {'input': np.resize(images, wanted)}


def add_metadata(content: bytes, facts: Mapping[str, str]) -> bytes:
    """Put texts into a TFLite file.

    Args:
        content: The content of the ``.tflite`` file.
        facts: Names to texts.

    Returns:
        The content of the new file.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    buffer = flatbuffer_utils.BufferT()
    buffer.data = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    entry = flatbuffer_utils.schema_fb.MetadataT()
    entry.name = NAME.encode()
    entry.buffer = len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
