"""Runs OpenVINO's files."""

import os
from typing import Any

import numpy as np

from rfdetr_mm_light.errors import InputError

from .session import Arrays, Session, import_runtime, not_readable

INSTALL = "pip install 'rfdetr_mm[openvino]'"


class OpenVINOSession(Session):
    """An OpenVINO model on the CPU, in float32.

    Args:
        file: The ``.xml`` file; its ``.bin`` must be beside it.
        device: ``'cpu'``; others are OpenVINO's names, such as ``'GPU'``.
        threads: The number of threads; OpenVINO's choice unless given.

    Raises:
        InputError: If OpenVINO is not installed or cannot read the file.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        device: str = 'cpu',
        threads: int | None = None,
    ) -> None:
        self.file = str(file)
        openvino = import_runtime('openvino', self.file, INSTALL)
        # A CPU that can compute in bf16 would do it by default.
        options: dict[str, Any] = {'INFERENCE_PRECISION_HINT': 'f32'}
        if threads is not None:
            options['INFERENCE_NUM_THREADS'] = threads
        try:
            self._model = openvino.Core().compile_model(
                self.file, device.upper(), options
            )
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
            output.any_name: _shape(output) for output in self._model.outputs
        }

    def _run(self, images: np.ndarray) -> Arrays:
        results = self._model([images])
        return {name: results[name] for name in self.output_shapes}


def _shape(port: Any) -> tuple[int | None, ...]:
    return tuple(
        side.get_length() if side.is_static else None
        for side in port.partial_shape
    )
