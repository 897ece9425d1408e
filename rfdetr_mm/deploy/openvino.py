"""OpenVINO for mmdeploy, through the API of current releases.

mmdeploy 1.3.1 calls the ``mo`` script and ``IECore``, which OpenVINO no
longer has. Registered here under the same name, ``openvino``, are a manager
and a wrapper that use ``convert_model`` and ``Core``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmdeploy.backend.openvino  # noqa: F401  registers what is replaced
import numpy as np
from mmdeploy.backend.base import (
    BACKEND_MANAGERS,
    BACKEND_WRAPPER,
    BaseWrapper,
)
from mmdeploy.utils import Backend, get_backend_config
from mmdeploy.utils.timer import TimeCounter

from rfdetr_runtime.metadata import NAME, read_metadata
from rfdetr_runtime.sessions.openvino import INSTALL, OpenVINOSession
from rfdetr_runtime.sessions.session import Arrays

from .missing_package import require_package
from .package_manager import PackageManager
from .session_wrapper import SessionWrapper
from .whole_files import whole_files


def onnx_to_openvino(
    file: str | Path, folder: str | Path, compress_to_fp16: bool = False
) -> Path:
    """Convert an ONNX file; dynamic axes stay dynamic.

    Args:
        file: The ONNX file; its metadata is taken over.
        folder: Where the ``.xml`` and ``.bin`` of the same name go.
        compress_to_fp16: Store weights as fp16. A CPU computes in fp32
            nevertheless; a GPU or NPU in fp16.

    Returns:
        The ``.xml`` file.

    Raises:
        InputError: If openvino is not installed.
    """
    require_package('openvino', 'OpenVINO', INSTALL)
    import openvino

    model = openvino.convert_model(str(file))
    precision = 'fp16' if compress_to_fp16 else 'fp32'
    facts = {**read_metadata(file), 'precision': precision}
    for key, text in facts.items():
        model.set_rt_info(text, [NAME, key])
    name = f'{Path(file).stem}.xml'
    with whole_files(folder) as unfinished:
        openvino.save_model(
            model, str(unfinished / name), compress_to_fp16=compress_to_fp16
        )
    return Path(folder) / name


@BACKEND_MANAGERS.register('openvino')
class OpenVINOManager(PackageManager):
    """What mmdeploy asks about OpenVINO."""

    title, install = 'OpenVINO', INSTALL
    module = distribution = 'openvino'

    @classmethod
    def to_backend(
        cls,
        ir_files: Sequence[str],
        work_dir: str,
        deploy_cfg: Any,
        *args: Any,
        **kwargs: Any,
    ) -> list[str]:
        """Convert ONNX files.

        Args:
            ir_files: The ONNX files.
            work_dir: The folder of the results.
            deploy_cfg: The deploy config; weights are stored as fp16 where
                ``backend_config.compress_to_fp16`` is True.
            *args: Not used; part of mmdeploy's interface.
            **kwargs: Not used; part of mmdeploy's interface.

        Returns:
            The ``.xml`` files.

        Raises:
            InputError: If openvino is not installed.
        """
        fp16 = get_backend_config(deploy_cfg).get('compress_to_fp16', False)
        return [str(onnx_to_openvino(f, work_dir, fp16)) for f in ir_files]

    @classmethod
    def load(
        cls, file: str, output_names: Sequence[str] | None, device: str
    ) -> BaseWrapper:
        """See :meth:`PackageManager.load`; it runs on the CPU."""
        return OpenVINOWrapper(file, output_names)


# The counter of mmdeploy's own wrapper: names must not come twice.
TimeCounter.names.pop(Backend.OPENVINO.value, None)


@BACKEND_WRAPPER.register_module(Backend.OPENVINO.value, force=True)
class OpenVINOWrapper(SessionWrapper):
    """Runs an OpenVINO model on the CPU, in float32.

    Args:
        ir_model_file: The ``.xml`` file.
        output_names: Wanted outputs, in order; all of the model's unless
            given.

    Raises:
        InputError: If openvino is not installed, or the file cannot be read
            or lacks an output.
    """

    def __init__(
        self, ir_model_file: str, output_names: Sequence[str] | None = None
    ) -> None:
        super().__init__(OpenVINOSession(ir_model_file), output_names)

    @TimeCounter.count_time(Backend.OPENVINO.value)
    def _run(self, images: np.ndarray) -> Arrays:
        return super()._run(images)
