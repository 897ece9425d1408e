"""What mmdeploy asks about TFLite."""

import copyreg
import importlib.metadata
import importlib.util
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdeploy.backend.base import (
    BACKEND_MANAGERS,
    BaseBackendManager,
    BaseWrapper,
)
from mmdeploy.utils import (
    Backend,
    get_backend_config,
    get_calib_filename,
    get_ir_config,
)

from rfdetr_mm.checkpoints import atomic_file
from rfdetr_mm.errors import InputError

from ..calibration import read_calibration
from ..missing_package import require_package

BACKEND_NAME = 'tflite'
INSTALL = "pip install 'rfdetr_mm[tflite]'"
PRECISIONS = ('fp32', 'fp16', 'int8-dynamic', 'int8')


@BACKEND_MANAGERS.register(BACKEND_NAME)
class TFLiteManager(BaseBackendManager):
    """Converts to TFLite and loads the files."""

    @classmethod
    def is_available(cls, with_custom_ops: bool = False) -> bool:
        """Whether the interpreter is installed; no operator is our own."""
        return importlib.util.find_spec('ai_edge_litert') is not None

    @classmethod
    def get_version(cls) -> str:
        """The version of the interpreter, 'None' without it."""
        if not cls.is_available():
            return 'None'
        return importlib.metadata.version('ai-edge-litert')

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
        if precision not in PRECISIONS:
            raise InputError(
                f'backend_config.precision must be one of {PRECISIONS}, got '
                f'{precision!r}'
            )
        if precision == 'int8' and calibration is None:
            name = get_calib_filename(deploy_cfg)
            calibration = read_calibration(
                None if name is None else Path(work_dir, name)
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

        if output_names is None and deploy_cfg is not None:
            output_names = get_ir_config(deploy_cfg).get('output_names')
        return TFLiteWrapper(backend_files[0], output_names)


def backend_of_name(name: str) -> Backend:
    """The backend of a name, TFLite among them."""
    return Backend.get(name)


# mmdeploy's tools hand a member of the enumeration to spawned processes. By
# this they import this module, which adds the member, before they look it up.
copyreg.pickle(Backend, lambda member: (backend_of_name, (member.value,)))
