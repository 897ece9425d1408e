"""What mmdeploy asks about TFLite."""

import copyreg
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdeploy.backend.base import BACKEND_MANAGERS, BaseWrapper
from mmdeploy.utils import Backend, get_backend_config

from rfdetr_mm.checkpoints import atomic_file

from ..missing_package import require_package
from ..package_manager import (
    PackageManager,
    calibration_for,
    check_precision,
    wanted_outputs,
)
from .names import BACKEND_NAME, INSTALL

PRECISIONS = ('fp32', 'fp16', 'int8-dynamic', 'int8')


@BACKEND_MANAGERS.register(BACKEND_NAME)
class TFLiteManager(PackageManager):
    """Converts to TFLite and loads the files."""

    module, distribution = 'ai_edge_litert', 'ai-edge-litert'

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
        """Convert programs of ``torch.export``.

        Args:
            ir_files: What :class:`Program` wrote.
            work_dir: Where the results go.
            deploy_cfg: With ``backend_config.precision``.
            log_level: Of mmdeploy's interface.
            device: Of mmdeploy's interface.
            calibration: For 'int8': normalised images, shape (bs, channels,
                h_px, w_px) each; the calibration file that mmdeploy wrote
                into ``work_dir`` unless given.
            **kwargs: Of mmdeploy's interface.

        Returns:
            The ``.tflite`` files.

        Raises:
            InputError: If litert-torch is not installed, the precision is
                unknown or images for its calibration are missing.
        """
        require_package('litert_torch', 'TFLite', INSTALL)
        precision = get_backend_config(deploy_cfg).get('precision', 'fp32')
        check_precision(precision, PRECISIONS)
        calibration = calibration_for(
            precision, calibration, deploy_cfg, work_dir
        )
        from .convert import to_tflite

        files = []
        for ir_file in ir_files:
            content = to_tflite(ir_file, precision, calibration)
            file = Path(work_dir, Path(ir_file).stem).with_suffix('.tflite')
            with atomic_file(file) as target:
                target.write(content)
            files.append(str(file))
        return files

    @classmethod
    def build_wrapper(
        cls,
        backend_files: Sequence[str],
        device: str = 'cpu',
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        deploy_cfg: Any = None,
        **kwargs: Any,
    ) -> BaseWrapper:
        """Load a converted model.

        Args:
            backend_files: The ``.tflite`` file.
            device: Of mmdeploy's interface; it runs on the CPU.
            input_names: Of mmdeploy's interface.
            output_names: Wanted outputs, in order; those of ``deploy_cfg``
                unless given.
            deploy_cfg: The deploy config.
            **kwargs: Of mmdeploy's interface.

        Returns:
            A :class:`TFLiteWrapper`.
        """
        from .wrapper import TFLiteWrapper

        names = wanted_outputs(output_names, deploy_cfg)
        return TFLiteWrapper(backend_files[0], names)


def backend_of_name(name: str) -> Backend:
    """The backend of a name, TFLite among them."""
    return Backend.get(name)


# mmdeploy's tools hand a member of the enumeration to spawned processes. By
# this they import this module, which adds the member, before they look it up.
copyreg.pickle(Backend, lambda member: (backend_of_name, (member.value,)))
