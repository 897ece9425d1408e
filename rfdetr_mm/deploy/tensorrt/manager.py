"""What mmdeploy asks about TensorRT."""

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import mmdeploy.backend.tensorrt.backend_manager  # noqa: F401  replaced here
import numpy as np
import onnx
from mmdeploy.backend.base import BACKEND_MANAGERS, BaseWrapper
from mmdeploy.utils import get_backend_config

from rfdetr_runtime.metadata import read_metadata, side_file

from ..missing_package import require_package
from ..package_manager import (
    PackageManager,
    calibration_for,
    check_precision,
    wanted_outputs,
)
from ..whole_files import whole_files
from .onnx_check import unsupported
from .precision import to_fp16_matrices, to_int8_matrices

INSTALL = 'pip install tensorrt'
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

    module = distribution = 'tensorrt'

    @classmethod
    def to_backend(
        cls,
        ir_files: Sequence[str],
        work_dir: str,
        deploy_cfg: Any,
        log_level: int = logging.INFO,
        device: str = 'cuda:0',
        calibration: Iterable[np.ndarray] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Build engines of ONNX files.

        Args:
            ir_files: ONNX files.
            work_dir: Where the results go.
            deploy_cfg: With ``backend_config.precision`` and, if the batch
                is dynamic, ``backend_config.batch_sizes``: the least, the
                usual and the largest.
            log_level: Of mmdeploy's interface.
            device: Of mmdeploy's interface.
            calibration: For 'int8': normalised images, shape (bs, channels,
                h_px, w_px) each; the calibration file that mmdeploy wrote
                into ``work_dir`` unless given.
            **kwargs: Of mmdeploy's interface.

        Returns:
            The ``.engine`` files; ``NAME.engine.json`` beside each has its
            metadata.

        Raises:
            InputError: If TensorRT is not installed, the precision is unknown
                or images for its calibration are missing.
        """
        require_package('tensorrt', 'TensorRT', INSTALL)
        config = get_backend_config(deploy_cfg)
        precision = config.get('precision', 'fp32')
        calibration = calibration_for(
            precision, calibration, deploy_cfg, work_dir
        )
        from .engine import build_engine

        files = []
        for ir_file in ir_files:
            model = prepare_onnx(ir_file, precision, calibration)
            engine = build_engine(
                model,
                batch_sizes=config.get('batch_sizes', (1, 1, 1)),
                max_workspace_bytes=config.get('max_workspace_size', 1 << 30),
            )
            facts = {**read_metadata(ir_file), 'precision': precision}
            file = Path(work_dir, f'{Path(ir_file).stem}.engine')
            with whole_files(work_dir) as folder:
                (folder / file.name).write_bytes(engine)
                side_file(folder / file.name).write_text(
                    json.dumps(facts, indent=1)
                )
            files.append(str(file))
        return files

    @classmethod
    def build_wrapper(
        cls,
        backend_files: Sequence[str],
        device: str = 'cuda:0',
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        deploy_cfg: Any = None,
        **kwargs: Any,
    ) -> BaseWrapper:
        """Load an engine.

        Args:
            backend_files: The ``.engine`` file.
            device: Where it runs.
            input_names: Of mmdeploy's interface.
            output_names: Wanted outputs, in order; those of ``deploy_cfg``
                unless given.
            deploy_cfg: The deploy config.
            **kwargs: Of mmdeploy's interface.

        Returns:
            A :class:`TensorRTWrapper`.
        """
        require_package('tensorrt', 'TensorRT', INSTALL)
        from .wrapper import TensorRTWrapper

        names = wanted_outputs(output_names, deploy_cfg)
        return TensorRTWrapper(backend_files[0], names, device)
