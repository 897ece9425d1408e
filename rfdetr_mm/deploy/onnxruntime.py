"""ONNX Runtime in int8 beside mmdeploy's float precisions."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdeploy.backend.base import BACKEND_MANAGERS
from mmdeploy.backend.onnxruntime.backend_manager import ONNXRuntimeManager
from mmdeploy.utils import get_backend_config

from .missing_package import require_package
from .package_manager import calibration_for, check_precision
from .quantization import quantize
from .whole_files import whole_files

PRECISIONS = ('fp32', 'fp16', 'int8-dynamic', 'int8')
INSTALL = "pip install 'rfdetr_mm[deploy]'"


@BACKEND_MANAGERS.register('onnxruntime')
class QuantizingManager(ONNXRuntimeManager):
    """mmdeploy's manager that also quantises to int8.

    ``backend_config.precision`` says to what; float files of other models
    are left to mmdeploy.
    """

    @classmethod
    def to_backend(
        cls,
        ir_files: Sequence[str],
        work_dir: str,
        deploy_cfg: Any,
        log_level: int = logging.INFO,
        device: str = 'cpu',
        calibration: Iterable[np.ndarray] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Quantise if wanted.

        Args:
            ir_files: ONNX files.
            work_dir: Where the results go.
            deploy_cfg: A deploy config with ``backend_config.precision``.
            log_level: Part of mmdeploy's interface.
            device: Part of mmdeploy's interface.
            calibration: Normalised images for 'int8', shape (bs, channels,
                h_px, w_px) each; those of ``calib_config`` if None.
            **kwargs: Part of mmdeploy's interface.

        Returns:
            The files: ``*_int8.onnx`` or ``*_int8-dynamic.onnx`` beside the
            float ones.

        Raises:
            InputError: If the precision is unknown, or images are missing.
        """
        require_package('onnxruntime', 'ONNX Runtime', INSTALL)
        precision = get_backend_config(deploy_cfg).get('precision', 'fp32')
        check_precision(precision, PRECISIONS)
        if not precision.startswith('int8'):
            return super().to_backend(
                ir_files, work_dir, deploy_cfg, log_level, device, **kwargs
            )
        calibration = calibration_for(
            precision, calibration, deploy_cfg, work_dir
        )
        files = []
        with whole_files(work_dir) as folder:
            for ir_file in map(Path, ir_files):
                name = f'{ir_file.stem}_{precision}.onnx'
                quantize(ir_file, folder / name, calibration)
                files.append(str(Path(work_dir, name)))
        return files
