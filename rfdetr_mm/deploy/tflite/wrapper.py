"""Runs TFLite files behind the interface of mmdeploy."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdeploy.backend.base import BACKEND_WRAPPER, BaseWrapper
from mmdeploy.utils.timer import TimeCounter
from torch import Tensor

from rfdetr_mm.errors import InputError

from ..fixed_size_file import Arrays, choose_outputs, run_in_parts
from ..missing_package import require_package
from .names import BACKEND_NAME, INSTALL


@BACKEND_WRAPPER.register_module(BACKEND_NAME)
class TFLiteWrapper(BaseWrapper):
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
        chosen = choose_outputs(model_file, known, output_names)
        self._file = str(model_file)
        ((self._input, details),) = self._runner.get_input_details().items()
        self._shape = [int(side) for side in details['shape']]
        super().__init__(chosen)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run the model.

        Args:
            inputs: One entry, images of shape (bs, channels, h_px, w_px).

        Returns:
            The wanted outputs by name.

        Raises:
            InputError: If the images are of another size.
        """
        (images,) = inputs.values()
        images = images.detach().cpu().permute(0, 2, 3, 1).numpy()
        outputs = run_in_parts(self._run, images, self._shape, self._file)
        return {
            name: torch.from_numpy(outputs[name]) for name in self.output_names
        }

    @TimeCounter.count_time(BACKEND_NAME)
    def _run(self, images: np.ndarray) -> Arrays:
        return self._runner(**{self._input: images})
