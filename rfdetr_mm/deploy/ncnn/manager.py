"""What mmdeploy asks about ncnn."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mmdeploy.backend.ncnn.backend_manager  # noqa: F401  is replaced
import numpy as np
from mmdeploy.backend.base import BACKEND_MANAGERS, BaseWrapper
from mmdeploy.utils import Backend

from ..package_manager import PackageManager


@BACKEND_MANAGERS.register(Backend.NCNN.value)
class NCNNManager(PackageManager):
    """Converts to ncnn by pnnx and loads the files."""

    title, install = 'ncnn', "pip install 'rfdetr_mm[ncnn-export]'"
    module = distribution = 'ncnn'
    converter, suffix, precisions = 'pnnx', '.ncnn', ('fp32', 'fp16')

    @classmethod
    def convert(
        cls,
        ir_file: str,
        precision: str,
        calibration: Iterable[np.ndarray] | None,
        settings: Any,
    ) -> dict[str, bytes]:
        """See :meth:`PackageManager.convert`; ``NCNNProgram`` wrote it."""
        from .convert import to_ncnn

        return to_ncnn(ir_file, precision)

    @classmethod
    def write(cls, content: Mapping[str, bytes], target: Path) -> None:
        """Write a folder, which stands for a file.

        Args:
            content: Names to contents of its files.
            target: The folder, ``*.ncnn``.
        """
        target.mkdir()
        for name, part in content.items():
            Path(target, name).write_bytes(part)

    @classmethod
    def load(
        cls, file: str, output_names: Sequence[str] | None, device: str
    ) -> BaseWrapper:
        """See :meth:`PackageManager.load`; it runs on the CPU."""
        from .wrapper import NCNNWrapper

        return NCNNWrapper(file, output_names)
