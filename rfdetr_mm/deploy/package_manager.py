"""What the managers of all our backends answer alike."""

import importlib.metadata
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmdeploy.backend.base import BaseBackendManager
from mmdeploy.utils import get_calib_filename, get_ir_config
from mmengine.config import Config

from rfdetr_mm.errors import InputError

from .calibration import read_calibration


class PackageManager(BaseBackendManager):
    """A backend that a Python package brings, without operators of ours."""

    module: ClassVar[str]  # what is imported
    distribution: ClassVar[str]  # what is installed

    @classmethod
    def is_available(cls, with_custom_ops: bool = False) -> bool:
        """Whether the package is installed; there are no custom operators."""
        return importlib.util.find_spec(cls.module) is not None

    @classmethod
    def get_version(cls) -> str:
        """The version of the package, 'None' without it."""
        if not cls.is_available():
            return 'None'
        return importlib.metadata.version(cls.distribution)


def check_precision(precision: str, known: Sequence[str]) -> None:
    """Refuse a precision that a backend does not have.

    Raises:
        InputError: With those that it has.
    """
    if precision not in known:
        raise InputError(
            f'backend_config.precision must be one of {known}, got '
            f'{precision!r}'
        )


def calibration_for(
    precision: str,
    given: Iterable[np.ndarray] | None,
    deploy_cfg: Config,
    work_dir: str,
) -> Iterable[np.ndarray] | None:
    """Images from which a precision learns ranges.

    Args:
        precision: Only 'int8' needs any.
        given: Images that the caller has.
        deploy_cfg: Names the file that mmdeploy wrote.
        work_dir: Its folder.

    Returns:
        Those given, else those of the file; None if none are needed.

    Raises:
        InputError: If there is neither.
    """
    if precision != 'int8':
        return None
    if given is not None:
        return given
    name = get_calib_filename(deploy_cfg)
    return read_calibration(None if name is None else Path(work_dir, name))


def wanted_outputs(
    output_names: Sequence[str] | None, deploy_cfg: Any
) -> Sequence[str] | None:
    """Names that a wrapper is asked for, else those of the deploy config."""
    if output_names is None and deploy_cfg is not None:
        return get_ir_config(deploy_cfg).get('output_names')
    return output_names
