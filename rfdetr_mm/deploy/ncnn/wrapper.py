"""Runs ncnn's files behind the interface of mmdeploy."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdeploy.backend.base import BACKEND_WRAPPER
from mmdeploy.utils import Backend
from mmdeploy.utils.timer import TimeCounter

from rfdetr_runtime.sessions.ncnn import NCNNSession
from rfdetr_runtime.sessions.session import Arrays

from ..session_wrapper import SessionWrapper

# The counter of mmdeploy's own wrapper: names must not come twice.
TimeCounter.names.pop(Backend.NCNN.value, None)


@BACKEND_WRAPPER.register_module(Backend.NCNN.value, force=True)
class NCNNWrapper(SessionWrapper):
    """Runs an ncnn model on the CPU.

    Args:
        model_file: The folder ``*.ncnn``.
        output_names: Wanted outputs, in order; all of the model's unless
            given.

    Raises:
        InputError: If ncnn is not installed, or the model cannot be read or
            lacks an output.
    """

    def __init__(
        self, model_file: str, output_names: Sequence[str] | None = None
    ) -> None:
        session = NCNNSession(model_file, threads=torch.get_num_threads())
        super().__init__(session, output_names)

    @TimeCounter.count_time(Backend.NCNN.value)
    def _run(self, images: np.ndarray) -> Arrays:
        return super()._run(images)
