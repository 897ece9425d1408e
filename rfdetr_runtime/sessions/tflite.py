"""Runs TFLite files by LiteRT."""

import os

import numpy as np

from rfdetr_mm_light.errors import InputError

from .session import (
    Arrays,
    Session,
    check_cpu,
    import_runtime,
    not_readable,
    num_cpus,
)

INSTALL = "pip install 'rfdetr_mm[tflite]'"


class TFLiteSession(Session):
    """A TFLite file on the CPU.

    Images are given as to the other runtimes, channels first; the file takes
    them channels last.

    Args:
        file: The ``.tflite`` file.
        device: Only ``'cpu'``.
        threads: The number of threads; one for each processor that the process
            may use unless given.

    Raises:
        InputError: If LiteRT is not installed or cannot read the file, or for
            another device.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        device: str = 'cpu',
        threads: int | None = None,
    ) -> None:
        self.file = str(file)
        litert = import_runtime(
            'ai_edge_litert.interpreter', self.file, INSTALL
        )
        check_cpu(self.file, device)
        try:
            interpreter = litert.Interpreter(
                model_path=self.file, num_threads=threads or num_cpus()
            )
            self._runner = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise not_readable(self.file, 'a TFLite file', error) from error
        inputs = self._runner.get_input_details()
        if len(inputs) != 1:
            raise InputError(
                f'{self.file} is not a detector of RF-DETR: it takes '
                f'{sorted(inputs)}, and one input is needed'
            )
        ((self._input, details),) = inputs.items()
        batch, height, width, channels = (int(n) for n in details['shape'])
        self.input_shape = batch, channels, height, width
        self.output_shapes = {
            name: tuple(int(side) for side in output['shape'])
            for name, output in sorted(
                self._runner.get_output_details().items()
            )
        }

    def _run(self, images: np.ndarray) -> Arrays:
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        return self._runner(**{self._input: images})
