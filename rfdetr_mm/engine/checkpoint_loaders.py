"""How mmengine finds and reads checkpoints once the plugin is imported.

``load_from``, ``init_cfg`` and every other place that names a checkpoint ask
mmengine's :class:`CheckpointLoader`. The loaders here replace its local and
web ones and add ``rfdetr://``: files are read as data only, and RF-DETR's and
DINOv2's own layouts are converted on the way.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_rank
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader

from rfdetr_mm.checkpoints import (
    download,
    hint_for_missing,
    published_address,
    read_checkpoint,
    resolve_weights,
    to_mmdet_checkpoint,
)
from rfdetr_mm.checkpoints.reader import MapLocation
from rfdetr_mm.errors import InputError, naming

_HASHED_NAME = re.compile(r'-[0-9a-f]{8,}\.')


def register_checkpoint_loaders() -> None:
    """Put the safe loaders into mmengine's table; other schemes stay."""
    for prefixes, loader in (
        ('', load_from_local),
        (('http://', 'https://'), load_from_http),
        ('rfdetr://', load_from_rfdetr),
    ):
        CheckpointLoader.register_scheme(prefixes, loader, force=True)


@contextlib.contextmanager
def _user_errors() -> Iterator[None]:
    """Give failures to find, fetch or read a file as the user's error."""
    try:
        yield
    except ConnectionError as error:
        raise InputError(
            f'{error} --cfg-options load_from=None starts a training from '
            'random weights, load_from=FILE from a checkpoint that you have.'
        ) from error
    except OSError as error:
        raise InputError(str(error)) from error


@_user_errors()
def load_from_local(
    filename: str, map_location: MapLocation | None = None
) -> dict[str, Any]:
    """Load a checkpoint file.

    Args:
        filename: Its path.
        map_location: Device for the tensors; the CPU if None.

    Returns:
        Upstream's and DINOv2's files converted, see
        :func:`rfdetr_mm.checkpoints.to_mmdet_checkpoint`; any other file as
        it is.

    Raises:
        InputError: If there is no such file, or it cannot be read as data,
            or is an RF-DETR file that cannot be converted.
    """
    try:
        content = read_checkpoint(filename, map_location or 'cpu')
    except FileNotFoundError as error:
        raise InputError(f'{error}{hint_for_missing(filename)}') from error
    with naming(filename):
        checkpoint, report = to_mmdet_checkpoint(content)
    if report is not None:
        print_log(
            f'Converted {Path(filename).name} on loading: '
            + '; '.join([f'{report.num_parameters} numbers', *report.notes]),
            logger='current',
        )
    return checkpoint


@_user_errors()
def load_from_rfdetr(
    filename: str, map_location: MapLocation | None = None
) -> dict[str, Any]:
    """Load a published RF-DETR file, e.g. ``rfdetr://rf-detr-nano.pth``.

    Args:
        filename: The address. XL and 2XL files need
            ``?accept_platform_model_license=1`` at its end.
        map_location: Device for the tensors; the CPU if None.

    Returns:
        The converted checkpoint.

    Raises:
        InputError: If the name is unknown, the licence not accepted, the
            file's MD5 wrong, the download fails or the cache folder cannot
            be written.
    """
    path = _on_rank_0_first(lambda: resolve_weights(filename))
    return load_from_local(str(path), map_location)


@_user_errors()
def load_from_http(
    filename: str,
    map_location: MapLocation | None = None,
    model_dir: str | None = None,
) -> dict[str, Any]:
    """Load a checkpoint from a web address.

    Args:
        filename: The address. Those of published RF-DETR files are treated
            as their ``rfdetr://`` names.
        map_location: Device for the tensors; the CPU if None.
        model_dir: Cache folder, ``<torch hub>/checkpoints`` by default.

    Returns:
        As :func:`load_from_local`.

    Raises:
        InputError: If the download fails, which leaves no partial file, the
            cache folder cannot be written or the file cannot be read.
    """
    address = published_address(filename)
    if address is not None:
        return load_from_rfdetr(address, map_location)
    path = fetch_from_http(filename, model_dir)
    try:
        return load_from_local(str(path), map_location)
    except InputError as error:
        raise InputError(
            f'{error} The file came from {filename}; delete it to have it '
            'downloaded again.'
        ) from error


def fetch_from_http(url: str, model_dir: str | None = None) -> Path:
    """Download a file, unless it is in the cache folder.

    Args:
        url: The address.
        model_dir: Cache folder, ``<torch hub>/checkpoints`` by default.

    Returns:
        The complete file.

    Raises:
        ConnectionError: If the download fails, which leaves no partial file.
        OSError: If the cache folder cannot be written.
    """
    path = _cached_path(url, model_dir)
    way_out = 'give' if model_dir else 'set TORCH_HOME to'

    def fetch() -> Path:
        if not path.exists():
            download(url, path, way_out=f'{way_out} another folder')
        return path

    return _on_rank_0_first(fetch)


def _cached_path(url: str, model_dir: str | None) -> Path:
    """Where a web file is kept.

    Names that carry a hash are kept where PyTorch keeps them. Others, such
    as ``checkpoint.pth``, are not unique and get a folder per address.
    """
    folder = Path(
        model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
    )
    name = Path(urlparse(url).path).name or 'checkpoint'
    if not _HASHED_NAME.search(name):
        folder = folder / hashlib.sha256(url.encode()).hexdigest()[:12]
    return folder / name


def _on_rank_0_first(fetch: Callable[[], Path]) -> Path:
    """Let one process download; the others then find the file."""
    try:
        path = fetch() if get_rank() == 0 else None
    finally:
        barrier()
    return path or fetch()
