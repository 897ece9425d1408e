"""ONNX Runtime in fp16 and int8, beside mmdeploy's fp32."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from mmdeploy.backend.base import BACKEND_MANAGERS
from mmdeploy.backend.onnxruntime.backend_manager import ONNXRuntimeManager
from mmdeploy.utils import get_backend_config

from rfdetr_runtime.metadata import read_metadata

from .fp16_matrices import to_fp16_matrices
from .missing_package import require_package
from .onnx_file import add_metadata
from .package_manager import calibration_for, check_precision
from .quantization import quantize
from .whole_files import whole_files

PRECISIONS = ('fp32', 'fp16', 'int8-dynamic', 'int8')
INSTALL = "pip install 'rfdetr_mm[deploy]'"


@BACKEND_MANAGERS.register('onnxruntime')
class QuantizingManager(ONNXRuntimeManager):
    """mmdeploy's manager that also writes fp16 and int8.

    ``backend_config.precision`` says which; fp32 is left to mmdeploy.
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
            The files: ``*_fp16.onnx``, ``*_int8.onnx`` or
            ``*_int8-dynamic.onnx`` beside the float ones.

        Raises:
            InputError: If the precision is unknown, or images are missing.
        """
        require_package('onnxruntime', 'ONNX Runtime', INSTALL)
        precision = get_backend_config(deploy_cfg).get('precision', 'fp32')
        check_precision(precision, PRECISIONS)
        if precision == 'fp32':
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
                if precision == 'fp16':
                    write_fp16(ir_file, folder / name)
                else:
                    quantize(ir_file, folder / name, calibration)
                files.append(str(Path(work_dir, name)))
        return files


def write_fp16(source: Path, target: Path) -> None:
    """Write a copy of a float32 file whose matrix products are in fp16.

    Args:
        source: The float32 file.
        target: The new file; inputs and outputs stay float32.
    """
    proto = to_fp16_matrices(onnx.load(str(source)))
    add_metadata(proto, {**read_metadata(source), 'precision': 'fp16'})
    onnx.save(proto, str(target))
