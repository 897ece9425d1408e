"""Building and loading TensorRT engines. Imports tensorrt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import tensorrt as trt

from rfdetr_mm.errors import InputError


def build_engine(
    model: onnx.ModelProto,
    batch_sizes: Sequence[int] = (1, 1, 1),
    max_workspace_bytes: int = 1 << 30,
) -> bytes:
    """Build an engine that computes in the types of the graph.

    Args:
        model: The graph, see :func:`prepare_onnx`.
        batch_sizes: The least, the usual and the largest; used where the
            graph leaves the batch open.
        max_workspace_bytes: The most GPU memory for temporary values.

    Returns:
        The serialised engine.

    Raises:
        RuntimeError: If TensorRT cannot read the graph or build the engine.
    """
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(
        1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise RuntimeError(f'TensorRT cannot read the graph: {errors}')
    config = builder.create_builder_config()
    config.set_memory_pool_limit(
        trt.MemoryPoolType.WORKSPACE, max_workspace_bytes
    )
    # TF32 would round the inputs of what is to be fp32 to 10 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    images = network.get_input(0)
    batch_size, *size = images.shape
    if batch_size == -1:
        profile = builder.create_optimization_profile()
        profile.set_shape(images.name, *((bs, *size) for bs in batch_sizes))
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RuntimeError('TensorRT could not build the engine, see its log')
    return bytes(engine)


def load_engine(path: str | Path) -> Any:
    """Load an engine.

    Args:
        path: The ``.engine`` file.

    Returns:
        ``tensorrt.ICudaEngine``.

    Raises:
        InputError: If it cannot be read, for example because it was built by
            another version of TensorRT or for another GPU.
    """
    runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
    engine = runtime.deserialize_cuda_engine(Path(path).read_bytes())
    if engine is None:
        raise InputError(
            f'{path} cannot be loaded by TensorRT {trt.__version__} on this '
            'GPU: build it on the machine where it runs'
        )
    return engine
