"""Runs TFLite files behind the interface of mmdeploy."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdeploy.backend.base import BACKEND_WRAPPER
from mmdeploy.utils.timer import TimeCounter

from rfdetr_mm.errors import InputError

from ..fixed_size_file import Arrays, FixedSizeWrapper
from ..missing_package import require_package
from .names import BACKEND_NAME, INSTALL


@BACKEND_WRAPPER.register_module(BACKEND_NAME)
class TFLiteWrapper(FixedSizeWrapper):
    """Runs a TFLite file on the CPU.

    Its inputs are (bs, channels, h, w), as those of other backends; the file
    wants channels last. A file has one batch size; other batches run in
    parts.

    Args:
        model_file: The file.
        output_names: Wanted outputs, in order; all of the file's unless
            given.

    Raises:
        InputError: If the interpreter is not installed, or the file cannot
            be read or lacks an output.
    """

    axes = (0, 2, 3, 1)

    def __init__(
        self, model_file: str, output_names: Sequence[str] | None = None
    ) -> None:
        require_package('ai_edge_litert', 'TFLite', INSTALL)
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(
                model_path=str(model_file), num_threads=torch.get_num_threads()
            )
            self._runner = interpreter.get_signature_runner()
        except ValueError as error:
            raise InputError(
                f'{model_file} cannot be read as a TFLite file: {error}'
            ) from error
        known = sorted(self._runner.get_output_details())
        ((self._input, details),) = self._runner.get_input_details().items()
        shape = [int(side) for side in details['shape']]
        super().__init__(model_file, shape, known, output_names)

    @TimeCounter.count_time(BACKEND_NAME)
    def _run(self, images: np.ndarray) -> Arrays:
        return self._runner(**{self._input: images})
