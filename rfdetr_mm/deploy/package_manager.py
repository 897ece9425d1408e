"""What the managers of all our backends answer alike."""

import copyreg
import importlib.metadata
import importlib.util
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmdeploy.backend.base import BaseBackendManager, BaseWrapper
from mmdeploy.utils import (
    Backend,
    get_backend_config,
    get_calib_filename,
    get_ir_config,
)
from mmengine.config import Config

from rfdetr_mm.errors import InputError
from rfdetr_runtime.metadata import side_file

from .calibration import read_calibration
from .missing_package import require_package
from .whole_files import whole_files


class PackageManager(BaseBackendManager):
    """A backend that a Python package brings, without operators of ours.

    A backend says how it converts a file and how it loads the result.
    """

    title: ClassVar[str]  # what people call the backend
    module: ClassVar[str]  # what is imported to run a file
    distribution: ClassVar[str]  # what is installed
    install: ClassVar[str]  # the command that installs it
    converter: ClassVar[str]  # what is imported to convert a file
    suffix: ClassVar[str]  # of its files
    precisions: ClassVar[Sequence[str]]
    device: ClassVar[str] = 'cpu'  # where a file runs unless told otherwise

    @classmethod
    def convert(
        cls,
        ir_file: str,
        precision: str,
        calibration: Iterable[np.ndarray] | None,
        settings: Any,
    ) -> Any:
        """Convert a file.

        Args:
            ir_file: The file that mmdeploy exported.
            precision: One of ``precisions``.
            calibration: Normalised images for 'int8', shape (bs, channels,
                h_px, w_px) each.
            settings: The ``backend_config`` of the deploy config.

        Returns:
            The content of the new file, see :meth:`write`.

        Raises:
            NotImplementedError: Where a backend does not say how.
        """
        raise NotImplementedError

    @classmethod
    def write(cls, content: Any, target: Path) -> None:
        """Write a converted file.

        Args:
            content: What :meth:`convert` gave, bytes unless a backend says
                otherwise.
            target: The file, or the folder that a backend has for one.
        """
        target.write_bytes(content)

    @classmethod
    def facts_beside(cls, ir_file: str, precision: str) -> dict[str, str]:
        """Texts for a file beside the result, which has no room for them.

        Args:
            ir_file: The file that mmdeploy exported.
            precision: One of ``precisions``.

        Returns:
            Names to texts; empty if the result itself has its metadata.
        """
        return {}

    @classmethod
    def load(
        cls, file: str, output_names: Sequence[str] | None, device: str
    ) -> BaseWrapper:
        """Load a converted file.

        Args:
            file: The file.
            output_names: Wanted outputs, in order; all of the file's if None.
            device: Where it runs.

        Raises:
            NotImplementedError: Where a backend does not say how.
        """
        raise NotImplementedError

    @classmethod
    def to_backend(
        cls,
        ir_files: Sequence[str],
        work_dir: str,
        deploy_cfg: Any,
        log_level: int = logging.INFO,
        device: str | None = None,
        calibration: Iterable[np.ndarray] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Convert what mmdeploy exported.

        Args:
            ir_files: The files that mmdeploy exported.
            work_dir: The folder of the results.
            deploy_cfg: The deploy config, with ``backend_config.precision``.
            log_level: Not used; part of mmdeploy's interface.
            device: Not used; part of mmdeploy's interface.
            calibration: Normalised images for 'int8', shape (bs, channels,
                h_px, w_px) each; the calibration file that mmdeploy wrote into
                ``work_dir`` unless given.
            **kwargs: Not used; part of mmdeploy's interface.

        Returns:
            The converted files.

        Raises:
            InputError: If the converter is not installed, the precision is
                unknown or images for its calibration are missing.
        """
        require_package(cls.converter, cls.title, cls.install)
        settings = get_backend_config(deploy_cfg)
        precision = settings.get('precision', 'fp32')
        check_precision(precision, cls.precisions)
        calibration = calibration_for(
            precision, calibration, deploy_cfg, work_dir
        )
        files = []
        for ir_file in ir_files:
            content = cls.convert(ir_file, precision, calibration, settings)
            file = Path(work_dir, Path(ir_file).stem + cls.suffix)
            facts = cls.facts_beside(ir_file, precision)
            with whole_files(work_dir) as folder:
                cls.write(content, folder / file.name)
                if facts:
                    side_file(folder / file.name).write_text(
                        json.dumps(facts, indent=1)
                    )
            files.append(str(file))
        return files

    @classmethod
    def build_wrapper(
        cls,
        backend_files: Sequence[str],
        device: str | None = None,
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        deploy_cfg: Any = None,
        **kwargs: Any,
    ) -> BaseWrapper:
        """Load a converted model.

        Args:
            backend_files: The converted file, in a list.
            device: Where it runs; the backend's own device if None.
            input_names: Not used; part of mmdeploy's interface.
            output_names: Wanted outputs, in order; those of ``deploy_cfg``
                unless given.
            deploy_cfg: The deploy config.
            **kwargs: Not used; part of mmdeploy's interface.

        Returns:
            The loaded model.

        Raises:
            InputError: If the backend is not installed, or the file cannot be
                read or lacks an output.
        """
        require_package(cls.module, cls.title, cls.install)
        names = wanted_outputs(output_names, deploy_cfg)
        return cls.load(backend_files[0], names, device or cls.device)

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


def backend_of_name(name: str) -> Backend:
    """The backend of a name, those of this package among them."""
    return Backend.get(name)


# mmdeploy's tools hand a member of the enumeration to spawned processes. By
# this they import this package, which adds members, before they look it up.
copyreg.pickle(Backend, lambda member: (backend_of_name, (member.value,)))
