"""OpenVINO for mmdeploy, through the API of current releases.

mmdeploy 1.3.1 calls the ``mo`` script and ``IECore``, which OpenVINO no
longer has. Registered here under the same name, ``openvino``, are a manager
and a wrapper that use ``convert_model`` and ``Core``.
"""

from collections.abc import Iterable, Sequence
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

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.exported_files import INFERENCE_PRECISIONS
from rfdetr_runtime.metadata import NAME, read_metadata
from rfdetr_runtime.sessions.openvino import INSTALL, OpenVINOSession
from rfdetr_runtime.sessions.session import Arrays

from .missing_package import require_package
from .openvino_int8 import quantize_openvino
from .package_manager import (
    PackageManager,
    calibration_for,
    check_precision,
)
from .session_wrapper import SessionWrapper
from .whole_files import whole_files

PRECISIONS = ('fp32', 'fp16', 'int8')


def onnx_to_openvino(
    file: str | Path,
    folder: str | Path,
    precision: str = 'fp32',
    calibration: Iterable[np.ndarray] | None = None,
    inference_precision: str | None = 'f32',
) -> Path:
    """Convert an ONNX file; dynamic axes stay dynamic.

    Args:
        file: The ONNX file; its metadata is taken over.
        folder: Where the ``.xml`` and ``.bin`` of the same name go.
        precision: One of ``PRECISIONS``, of the weights. 'fp16' only stores
            them so: what is computed in is the device's choice, or that of
            ``inference_precision``. 'int8' computes in int8 as well, see
            :func:`quantize_openvino`.
        calibration: Normalised images for 'int8', shape (bs, channels, h_px,
            w_px) each.
        inference_precision: 'f32', 'bf16' or 'f16', what
            :class:`OpenVINOSession` tells OpenVINO to compute in, written
            into the metadata; None leaves it to OpenVINO, which takes bf16
            on a CPU that has it.

    Returns:
        The ``.xml`` file.

    Raises:
        InputError: If openvino or nncf is not installed, a precision is
            unknown, or the images are of another shape than the file's.
    """
    require_package('openvino', 'OpenVINO', INSTALL)
    import openvino

    check_precision(precision, PRECISIONS)
    if inference_precision not in (*INFERENCE_PRECISIONS, None):
        raise InputError(
            'backend_config.inference_precision must be one of '
            f'{INFERENCE_PRECISIONS} or None, got {inference_precision!r}'
        )
    model = openvino.convert_model(str(file))
    if precision == 'int8':
        model = quantize_openvino(model, str(file), calibration)
    facts = {**read_metadata(file), 'precision': precision}
    if inference_precision is not None:
        facts['inference_precision'] = inference_precision
    for key, text in facts.items():
        model.set_rt_info(text, [NAME, key])
    name = f'{Path(file).stem}.xml'
    with whole_files(folder) as unfinished:
        openvino.save_model(
            model,
            str(unfinished / name),
            compress_to_fp16=precision == 'fp16',
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
        calibration: Iterable[np.ndarray] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Convert ONNX files.

        Args:
            ir_files: The ONNX files.
            work_dir: The folder of the results.
            deploy_cfg: The deploy config, with ``backend_config.precision``
                and ``backend_config.inference_precision``, see
                :func:`onnx_to_openvino`.
            *args: Not used; part of mmdeploy's interface.
            calibration: Normalised images for 'int8', shape (bs, channels,
                h_px, w_px) each; those of ``calib_config`` if None.
            **kwargs: Not used; part of mmdeploy's interface.

        Returns:
            The ``.xml`` files.

        Raises:
            InputError: See :func:`onnx_to_openvino`, or if images are
                missing.
        """
        settings = get_backend_config(deploy_cfg)
        precision = settings.get('precision', 'fp32')
        calibration = calibration_for(
            precision, calibration, deploy_cfg, work_dir
        )
        return [
            str(
                onnx_to_openvino(
                    file,
                    work_dir,
                    precision,
                    calibration,
                    settings.get('inference_precision'),
                )
            )
            for file in ir_files
        ]

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
    """Runs an OpenVINO model on the CPU, in the precision that it names.

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
