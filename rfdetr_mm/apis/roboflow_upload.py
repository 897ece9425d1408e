"""Bring a trained model to Roboflow, which then serves it."""

import io
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from rfdetr_mm.checkpoints import write_checkpoint
from rfdetr_mm.errors import InputError

from .conversion import to_rfdetr

_WEIGHTS = 'weights.pt'
_FAILURE = 'An error occured'  # what the client prints instead of raising


def write_roboflow_bundle(
    folder: str | os.PathLike[str],
    model: nn.Module,
    class_names: Sequence[str],
    config: Config,
) -> None:
    """Write what Roboflow wants of a model.

    Args:
        folder: Folder for ``weights.pt``, which rfdetr loads as well, and
            ``class_names.txt``, a name in a line; it is made.
        model: The detector.
        class_names: Names of its classes.
        config: The config that it was built from.

    Raises:
        InputError: If weights, names and config do not fit each other.

    Source: rfdetr 1.11.2, detr.py, RFDETR.export_for_roboflow (interface).
    """
    meta = dict(dataset_meta=dict(classes=tuple(class_names)))
    checkpoint, _ = to_rfdetr(
        dict(state_dict=model.state_dict(), meta=meta), config
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_checkpoint(checkpoint, Path(folder, _WEIGHTS), force=True)
    names = '\n'.join(class_names) + '\n'
    Path(folder, 'class_names.txt').write_text(names, encoding='utf-8')


def deploy_to_roboflow(
    model: nn.Module,
    class_names: Sequence[str],
    config: Config,
    workspace: str,
    project_id: str,
    version: int | str | None,
    api_key: str | None = None,
    size: str | None = None,
) -> None:
    """Upload a model as the trained model of a data set's version.

    Args:
        model: The detector.
        class_names: Names of its classes.
        config: The config that it was built from.
        workspace: Roboflow's name of the workspace.
        project_id: Roboflow's name of the project in it.
        version: Number of the project's version; None: the newest one.
        api_key: The account's; ``$ROBOFLOW_API_KEY`` if None.
        size: Roboflow's name of the architecture, such as
            ``'rfdetr-nano'``.

    Raises:
        InputError: If there is no key or no size.
        ImportError: If the package roboflow is not installed.
        RuntimeError: If Roboflow refuses the key, does not know the project
            or its version, or does not take the upload.

    Source: rfdetr 1.11.2, detr.py, RFDETR.deploy_to_roboflow (interface);
        roboflow 1.7.3, Version.deploy.
    """
    api_key = api_key or os.environ.get('ROBOFLOW_API_KEY')
    if not api_key:
        raise InputError(
            'Uploading needs an API key of Roboflow: pass api_key=… or set '
            'ROBOFLOW_API_KEY.'
        )
    if size is None:
        raise InputError(
            'The size of the model is not known to Roboflow: pass size=…, '
            "such as 'rfdetr-nano' or 'rfdetr-seg-nano'."
        )
    try:
        from roboflow import Roboflow
    except ImportError as error:
        raise ImportError(
            'Uploading needs the package roboflow: pip install '
            "'rfdetr_mm[apis]' or pip install roboflow"
        ) from error
    project = Roboflow(api_key=api_key).workspace(workspace)
    project = project.project(project_id)
    if version is None:
        version = _newest_version(project)
    project_version = project.version(version)
    with tempfile.TemporaryDirectory(prefix='roboflow_upload_') as folder:
        write_roboflow_bundle(folder, model, class_names, config)
        with redirect_stdout(_Copied(sys.stdout)) as printed:
            project_version.deploy(
                model_type=size, model_path=folder, filename=_WEIGHTS
            )
    for line in printed.getvalue().splitlines():
        if line.startswith(_FAILURE):
            raise RuntimeError(f'The model was not uploaded. {line}')


def warn_of_other_size(size: str | None, own: str | None) -> None:
    """Say that a model is deployed as one of another size.

    Args:
        size: What was given.
        own: What the model is.
    """
    if size is not None and own not in (None, size):
        warnings.warn(
            f'deploy_to_roboflow(size={size!r}) overrides {own!r}, the '
            "model's own size; leave size out to deploy it as that.",
            UserWarning,
            stacklevel=3,
        )


def _newest_version(project: Any) -> int:
    """The greatest number of a version; 1, which Roboflow refuses, if none."""
    known = project.get_version_information()
    # Their ids are paths, workspace/project/number.
    numbers = [int(str(one['id']).rpartition('/')[2]) for one in known]
    return max(numbers, default=1)


class _Copied(io.StringIO):
    """Keeps what is printed, and prints it."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(text)
        self._stream.flush()
        return super().write(text)
