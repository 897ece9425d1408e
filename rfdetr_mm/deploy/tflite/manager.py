"""What mmdeploy asks about TFLite."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from mmdeploy.backend.base import BACKEND_MANAGERS, BaseWrapper

from ..package_manager import PackageManager
from .names import BACKEND_NAME, INSTALL


@BACKEND_MANAGERS.register(BACKEND_NAME)
class TFLiteManager(PackageManager):
    """Converts to TFLite and loads the files."""

    title, module, distribution = 'TFLite', 'ai_edge_litert', 'ai-edge-litert'
    install, converter, suffix = INSTALL, 'litert_torch', '.tflite'
    precisions = ('fp32', 'fp16', 'int8-dynamic', 'int8')

    @classmethod
    def convert(
        cls,
        ir_file: str,
        precision: str,
        calibration: Iterable[np.ndarray] | None,
        settings: Any,
    ) -> bytes:
        """See :meth:`PackageManager.convert`; ``Program`` wrote the file."""
        from .convert import to_tflite

        return to_tflite(ir_file, precision, calibration)

    @classmethod
    def load(
        cls, file: str, output_names: Sequence[str] | None, device: str
    ) -> BaseWrapper:
        """See :meth:`PackageManager.load`; it runs on the CPU."""
        from .wrapper import TFLiteWrapper

        return TFLiteWrapper(file, output_names)
