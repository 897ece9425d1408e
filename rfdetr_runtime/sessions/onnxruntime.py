"""Runs ONNX files by ONNX Runtime."""

import os
from typing import Any

import numpy as np

from rfdetr_mm_light.errors import InputError

from .session import (
    Arrays,
    Session,
    import_runtime,
    not_readable,
    num_cpus,
)

INSTALL = "pip install 'rfdetr_mm[onnx]'"


class OnnxSession(Session):
    """An ONNX file in ONNX Runtime.

    Args:
        file: The ``.onnx`` file.
        device: ``'cpu'``, or ``'cuda'`` or ``'cuda:N'`` where ONNX Runtime's
            package for GPUs is installed.
        threads: The number of threads; ONNX Runtime's choice unless given.
        side_by_side: How many threads may call :meth:`run` at a time; they
            share the threads.

    Raises:
        InputError: If ONNX Runtime is not installed, has no such device, or
            cannot read the file.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        device: str = 'cpu',
        threads: int | None = None,
        side_by_side: int = 1,
    ) -> None:
        self.file, self.side_by_side = str(file), side_by_side
        ort = import_runtime('onnxruntime', self.file, INSTALL)
        options = ort.SessionOptions()
        if side_by_side > 1:
            threads = max((threads or num_cpus()) // side_by_side, 1)
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(
                self.file,
                options,
                providers=_providers(ort, device),
            )
        except InputError:
            raise
        except Exception as error:  # its errors have no common class
            raise not_readable(self.file, 'an ONNX file', error) from error
        (images,) = _only_images(self._session.get_inputs(), self.file)
        self._input = images.name
        self.input_shape = _shape(images.shape)
        self.output_shapes = {
            output.name: _shape(output.shape)
            for output in self._session.get_outputs()
        }

    def _run(self, images: np.ndarray) -> Arrays:
        names = list(self.output_shapes)
        outputs = self._session.run(names, {self._input: images})
        return dict(zip(names, outputs, strict=True))


def _providers(ort: Any, device: str) -> list:
    kind, _, number = device.partition(':')
    if kind == 'cpu':
        return ['CPUExecutionProvider']
    if kind != 'cuda' or 'CUDAExecutionProvider' not in (
        ort.get_available_providers()
    ):
        raise InputError(
            f'ONNX Runtime as it is installed has no device {device!r}, it '
            f'has {", ".join(ort.get_available_providers())}: take '
            "device='cpu', or install onnxruntime-gpu for 'cuda'"
        )
    options = dict(device_id=int(number or 0))
    return [('CUDAExecutionProvider', options), 'CPUExecutionProvider']


def _only_images(inputs: list, file: str) -> list:
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = {i.name: tuple(i.shape) for i in inputs}
        raise InputError(
            f'{file} is not a detector of RF-DETR: it takes {shapes}, and one '
            'input (batch, channels, height, width) is needed'
        )
    return inputs


def _shape(shape: list) -> tuple[int | None, ...]:
    """A shape whose open sides, which have names, are None."""
    return tuple(side if isinstance(side, int) else None for side in shape)
