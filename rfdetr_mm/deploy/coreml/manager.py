"""What mmdeploy asks about Core ML."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import mmdeploy.backend.coreml.backend_manager  # noqa: F401  is replaced
import numpy as np
from mmdeploy.backend.base import BACKEND_MANAGERS, BaseWrapper
from mmdeploy.utils import Backend

from rfdetr_mm.errors import InputError

from ..package_manager import PackageManager


@BACKEND_MANAGERS.register(Backend.COREML.value)
class CoreMLManager(PackageManager):
    """Converts to Core ML, whose files only Apple's machines run."""

    title, install = 'Core ML', "pip install 'rfdetr_mm[coreml]'"
    module = distribution = converter = 'coremltools'
    suffix, precisions = '.mlpackage', ('fp32', 'fp16')

    @classmethod
    def convert(
        cls,
        ir_file: str,
        precision: str,
        calibration: Iterable[np.ndarray] | None,
        settings: Any,
    ) -> Any:
        """See :meth:`PackageManager.convert`; ``Program`` wrote the file."""
        from .convert import to_coreml

        return to_coreml(ir_file, precision)

    @classmethod
    def write(cls, content: Any, target: Path) -> None:
        """Write an ML package, which is a folder.

        Args:
            content: The ``MLModel``.
            target: The folder, ``*.mlpackage``.
        """
        content.save(str(target))

    @classmethod
    def load(
        cls, file: str, output_names: Sequence[str] | None, device: str
    ) -> BaseWrapper:
        """Refuse to run a file.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f'{file} is for devices of Apple, and is not run here: load it by '
            'Core ML there, or export the model for another backend'
        )
