"""Runs ExecuTorch files behind the interface of mmdeploy."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdeploy.backend.base import BACKEND_WRAPPER
from mmdeploy.utils.timer import TimeCounter

from rfdetr_runtime.sessions.executorch import ExecuTorchSession
from rfdetr_runtime.sessions.session import Arrays

from ..session_wrapper import SessionWrapper
from .names import BACKEND_NAME


@BACKEND_WRAPPER.register_module(BACKEND_NAME)
class ExecuTorchWrapper(SessionWrapper):
    """Runs an ExecuTorch file on the CPU.

    Args:
        model_file: The file.
        output_names: Wanted outputs, in order; all of the file's unless
            given.

    Raises:
        InputError: If ExecuTorch is not installed, or the file cannot be read
            or lacks an output.
    """

    def __init__(
        self, model_file: str, output_names: Sequence[str] | None = None
    ) -> None:
        session = ExecuTorchSession(
            model_file, threads=torch.get_num_threads()
        )
        super().__init__(session, output_names)

    @TimeCounter.count_time(BACKEND_NAME)
    def _run(self, images: np.ndarray) -> Arrays:
        return super()._run(images)
