"""Runs TensorRT engines on an NVIDIA GPU, without torch.

Memory on the GPU is asked for by NVIDIA's own ``cuda.bindings``.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from rfdetr_mm_light.errors import InputError

from .session import Arrays, Session, import_runtime

INSTALL = 'pip install tensorrt cuda-python'


class TensorRTSession(Session):
    """An engine of TensorRT.

    Args:
        file: The ``.engine`` file; ``NAME.engine.json`` beside it has its
            metadata.
        device: ``'cuda'`` or ``'cuda:N'``.
        threads: Not used: a GPU computes.

    Raises:
        InputError: If TensorRT or cuda-python is not installed, the engine
            cannot be loaded on this machine, or for another device.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        device: str = 'cuda',
        threads: int | None = None,
    ) -> None:
        self.file = str(file)
        trt = import_runtime('tensorrt', self.file, INSTALL)
        self._cuda = import_runtime(
            'cuda.bindings.runtime', self.file, INSTALL
        )
        kind, _, number = device.partition(':')
        if kind != 'cuda':
            raise InputError(
                f"{self.file} runs on an NVIDIA GPU only, device='cuda', got "
                f'{device!r}'
            )
        self._call('cudaSetDevice', int(number or 0))
        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = runtime.deserialize_cuda_engine(Path(file).read_bytes())
        if self._engine is None:
            raise InputError(
                f'{self.file} cannot be loaded by TensorRT {trt.__version__} '
                'on this GPU: build it on the machine where it runs'
            )
        self._trt = trt
        self._context = self._engine.create_execution_context()
        self._read_shapes()

    def _read_shapes(self) -> None:
        engine = self._engine
        names = [
            engine.get_tensor_name(i) for i in range(engine.num_io_tensors)
        ]
        is_input = self._trt.TensorIOMode.INPUT
        (self._input,) = (
            name for name in names if engine.get_tensor_mode(name) == is_input
        )
        # (batch, channels, h, w) of the least, the usual, the largest batch
        least, _, largest = engine.get_tensor_profile_shape(self._input, 0)
        self._batch_sizes = least[0], largest[0]
        fixed = least[0] == largest[0]
        self.input_shape = (
            largest[0] if fixed else None,
            *tuple(largest)[1:],
        )
        self.output_shapes = {
            name: tuple(
                side if side >= 0 else None
                for side in engine.get_tensor_shape(name)
            )
            for name in names
            if name != self._input
        }

    @property
    def batch_sizes(self) -> tuple[int, int | None]:
        """(least, largest) number of images at once."""
        return self._batch_sizes

    def _run(self, images: np.ndarray) -> Arrays:
        self._context.set_input_shape(self._input, images.shape)
        outputs = {
            name: np.empty(
                tuple(self._context.get_tensor_shape(name)),
                self._trt.nptype(self._engine.get_tensor_dtype(name)),
            )
            for name in self.output_shapes
        }
        places: dict[str, int] = {}
        try:
            for name, array in {self._input: images, **outputs}.items():
                places[name] = self._call('cudaMalloc', max(array.nbytes, 1))
                self._context.set_tensor_address(name, places[name])
            kinds = self._cuda.cudaMemcpyKind
            self._copy(
                places[self._input],
                images.ctypes.data,
                images.nbytes,
                kinds.cudaMemcpyHostToDevice,
            )
            if not self._context.execute_async_v3(0):
                raise RuntimeError(f'TensorRT could not run {self.file}')
            # A copy waits for what the same stream does before it.
            for name, array in outputs.items():
                self._copy(
                    array.ctypes.data,
                    places[name],
                    array.nbytes,
                    kinds.cudaMemcpyDeviceToHost,
                )
        finally:
            for place in places.values():
                self._call('cudaFree', place)
        return outputs

    def _copy(self, target: int, source: int, size: int, kind: Any) -> None:
        self._call('cudaMemcpy', target, source, size, kind)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the CUDA runtime; its result, if it has one."""
        status, *results = getattr(self._cuda, name)(*arguments)
        if status != self._cuda.cudaError_t.cudaSuccess:
            raise InputError(
                f'{self.file}: {name} of the CUDA runtime says {status.name}'
            )
        return results[0] if results else None
