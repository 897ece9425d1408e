"""Runs OpenVINO's files."""

import os
import queue
import warnings
from typing import Any

import numpy as np

from rfdetr_mm_light.errors import InputError
from rfdetr_mm_light.exported_files import INFERENCE_PRECISIONS

from ..metadata import NAME
from .session import Arrays, Session, import_runtime, not_readable, num_cpus

# In the order in which rfdetr's own files have them.
DETECTOR_OUTPUTS = ('dets', 'labels', 'masks')
INSTALL = "pip install 'rfdetr_mm[openvino]'"


class OpenVINOSession(Session):
    """An OpenVINO model, on the CPU unless another device is named.

    Args:
        file: The ``.xml`` file; its ``.bin`` must be beside it.
        device: ``'cpu'``; others are OpenVINO's names, such as ``'GPU'``.
        threads: The number of threads; OpenVINO's choice unless given.
        precision: One of ``INFERENCE_PRECISIONS``, what is computed in; what
            the file says, ``inference_precision`` of its metadata, unless
            given. If neither does, OpenVINO chooses: bf16 where the processor
            has it. A precision that the device does not have becomes f32,
            with a warning.
        side_by_side: How many threads may call :meth:`run` at a time; they
            share the threads.

    Raises:
        InputError: If OpenVINO is not installed or cannot read the file, or
            there is no such precision.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        device: str = 'cpu',
        threads: int | None = None,
        precision: str | None = None,
        side_by_side: int = 1,
    ) -> None:
        self.file, self.side_by_side = str(file), side_by_side
        openvino = import_runtime('openvino', self.file, INSTALL)
        core, device = openvino.Core(), device.upper()
        options: dict[str, Any] = {}
        if side_by_side > 1:
            options['NUM_STREAMS'] = side_by_side
            threads = threads or num_cpus()
        if threads is not None:
            options['INFERENCE_NUM_THREADS'] = threads
        try:
            model = core.read_model(self.file)
            said = [NAME, 'inference_precision']
            if precision is None and model.has_rt_info(said):
                precision = model.get_rt_info(said).astype(str)
            if precision is not None:
                options['INFERENCE_PRECISION_HINT'] = self._supported(
                    core, device, precision
                )
            self._model = core.compile_model(model, device, options)
        except RuntimeError as error:
            raise not_readable(
                self.file, 'an OpenVINO model', error
            ) from error
        if len(self._model.inputs) != 1:
            raise InputError(
                f'{self.file} is not a detector of RF-DETR: it has '
                f'{len(self._model.inputs)} inputs, and one is needed'
            )
        self.input_shape = _shape(self._model.input(0))
        self.output_shapes = {
            _name(output, number): _shape(output)
            for number, output in enumerate(self._model.outputs)
        }
        # OpenVINO 2026.4 looks for numpy when the first array is used. Two
        # threads that do so at a time would wait for each other for ever.
        _ = openvino.Tensor(np.zeros(1, np.float32)).data
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        for _ in range(side_by_side):
            self._requests.put(self._model.create_infer_request())

    def _supported(self, core: Any, device: str, precision: str) -> str:
        """The precision, or f32 where the device does not have it."""
        if precision not in INFERENCE_PRECISIONS:
            raise InputError(
                f'{self.file}: precision must be one of '
                f'{", ".join(INFERENCE_PRECISIONS)}, got {precision!r}'
            )
        # f32 is not listed by every device that has it.
        known = core.get_property(device, 'OPTIMIZATION_CAPABILITIES')
        names = dict(f16='FP16', bf16='BF16')
        if precision == 'f32' or names[precision] in known:
            return precision
        warnings.warn(
            f'{self.file}: {device} here does not compute in {precision}; '
            'f32 is taken.',
            stacklevel=5,
        )
        return 'f32'

    def _run(self, images: np.ndarray) -> Arrays:
        request = self._requests.get()
        try:
            # Its outputs are copied, for others use the request afterwards.
            results = request.infer([images], share_inputs=True)
        finally:
            self._requests.put(request)
        return {name: results[i] for i, name in enumerate(self.output_shapes)}


def _name(output: Any, number: int) -> str:
    """The name of an output; rfdetr 1.11.2 writes files without names."""
    if output.get_names():
        return output.any_name
    return (*DETECTOR_OUTPUTS, str(number))[min(number, 3)]


def _shape(port: Any) -> tuple[int | None, ...]:
    return tuple(
        side.get_length() if side.is_static else None
        for side in port.partial_shape
    )
