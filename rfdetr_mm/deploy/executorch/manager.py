"""What mmdeploy asks about ExecuTorch."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from mmdeploy.backend.base import BACKEND_MANAGERS, BaseWrapper

from rfdetr_runtime.sessions.executorch import INSTALL

from ..package_manager import PackageManager
from .names import BACKEND_NAME


@BACKEND_MANAGERS.register(BACKEND_NAME)
class ExecuTorchManager(PackageManager):
    """Converts to ExecuTorch and loads the files."""

    title, install = 'ExecuTorch', INSTALL
    module = distribution = converter = 'executorch'
    suffix, precisions = '.pte', ('fp32', 'int8-dynamic')

    @classmethod
    def convert(
        cls,
        ir_file: str,
        precision: str,
        calibration: Iterable[np.ndarray] | None,
        settings: Any,
    ) -> bytes:
        """See :meth:`PackageManager.convert`; ``Program`` wrote the file."""
        from .convert import to_executorch

        return to_executorch(ir_file, precision)

    @classmethod
    def load(
        cls, file: str, output_names: Sequence[str] | None, device: str
    ) -> BaseWrapper:
        """See :meth:`PackageManager.load`; it runs on the CPU."""
        from .wrapper import ExecuTorchWrapper

        return ExecuTorchWrapper(file, output_names)
