"""What mmdeploy asks about TensorRT."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import mmdeploy.backend.tensorrt.backend_manager  # noqa: F401  replaced here
import numpy as np
import onnx
from mmdeploy.backend.base import BACKEND_MANAGERS, BaseWrapper

from rfdetr_runtime.metadata import read_metadata

from ..fp16_matrices import to_fp16_matrices
from ..package_manager import PackageManager, check_precision
from .onnx_check import unsupported
from .precision import to_int8_matrices

PRECISIONS = ('fp32', 'fp16', 'int8')


def prepare_onnx(
    file: str | Path,
    precision: str,
    calibration: Iterable[np.ndarray] | None = None,
) -> onnx.ModelProto:
    """Make the graph that TensorRT gets of an exported one.

    Args:
        file: The ONNX file.
        precision: 'fp32', 'fp16' or 'int8'; what 'int8' leaves over is as
            'fp16'.
        calibration: Normalised images for 'int8', shape (bs, channels, h_px,
            w_px) each.

    Returns:
        A graph whose types say where it computes in which precision.

    Raises:
        InputError: If the precision is unknown.
        RuntimeError: If TensorRT's parser is known to refuse the graph.
    """
    check_precision(precision, PRECISIONS)
    if precision == 'int8':
        model = to_int8_matrices(file, calibration)
    else:
        model = onnx.load(str(file))
    if precision != 'fp32':
        model = to_fp16_matrices(model)
    problems = unsupported(model)
    if problems:
        raise RuntimeError(
            f'TensorRT would refuse {file}: {"; ".join(problems)}'
        )
    return model


@BACKEND_MANAGERS.register('tensorrt')
class TensorRTManager(PackageManager):
    """Builds strongly typed engines and loads them."""

    title, install = 'TensorRT', 'pip install tensorrt'
    module = distribution = converter = 'tensorrt'
    suffix, precisions, device = '.engine', PRECISIONS, 'cuda:0'

    @classmethod
    def convert(
        cls,
        ir_file: str,
        precision: str,
        calibration: Iterable[np.ndarray] | None,
        settings: Any,
    ) -> bytes:
        """See :meth:`PackageManager.convert`.

        If the batch is dynamic, ``settings.batch_sizes`` are the least, the
        usual and the largest.
        """
        from .engine import build_engine

        return build_engine(
            prepare_onnx(ir_file, precision, calibration),
            batch_sizes=settings.get('batch_sizes', (1, 1, 1)),
            max_workspace_bytes=settings.get('max_workspace_size', 1 << 30),
        )

    @classmethod
    def facts_beside(cls, ir_file: str, precision: str) -> dict[str, str]:
        """See :meth:`PackageManager.facts_beside`."""
        return {**read_metadata(ir_file), 'precision': precision}

    @classmethod
    def load(
        cls, file: str, output_names: Sequence[str] | None, device: str
    ) -> BaseWrapper:
        """See :meth:`PackageManager.load`."""
        from .wrapper import TensorRTWrapper

        return TensorRTWrapper(file, output_names, device)
