"""Weights by name: what Roboflow publishes, and what this package brings."""

import difflib
import os
import urllib.parse
from pathlib import Path

from rfdetr_mm.errors import InputError
from rfdetr_mm_light.files import file_md5
from rfdetr_mm_light.published_files import (
    BASE_URL,
    PUBLISHED_FILES,
    SHIPPED_FILES,
    PublishedFile,
    cache_dir,
)

from .transfer import download

SCHEME = 'rfdetr://'

LICENCE_QUERY = 'accept_platform_model_license'

_SHIPPED_DIR = Path(__file__).with_name('weights')


def resolve_weights(
    name: str,
    *,
    accept_platform_model_license: bool = False,
    folder: str | os.PathLike[str] | None = None,
    base_url: str = BASE_URL,
) -> Path:
    """Return the local path of a file by name, downloading it if needed.

    Args:
        name: A key of ``PUBLISHED_FILES`` or ``SHIPPED_FILES``, as it is or
            as a ``rfdetr://NAME`` address, to which
            ``?accept_platform_model_license=1`` may be added. Shipped files
            need no network, whatever ``folder`` is.
        accept_platform_model_license: Whether the user accepts the licence
            PML-1.0, which the XL and 2XL files are under.
        folder: Cache folder, :func:`cache_dir` by default.
        base_url: Address below which the files are, with a ``/`` at its end.

    Returns:
        Path of the complete file; its MD5 was checked.

    Raises:
        InputError: If the name is not a published one, the licence is not
            accepted, or a file has another MD5.
        FileNotFoundError: If this package was copied without its weights.
        ConnectionError: If the download fails. What has arrived is kept
            beside the file's place, and the next try goes on from there.
        OSError: If the folder cannot be written or the disk is full.
    """
    if name.startswith(SCHEME):
        name, accepted = _parse_address(name)
        accept_platform_model_license |= accepted
    if name in SHIPPED_FILES:
        return _shipped(name)
    file = _find(name)
    check_licence(name, accept_platform_model_license)
    path = Path(folder or cache_dir()) / name
    if not path.exists():
        way_out = 'give' if folder else 'set RF_HOME to'
        download(
            base_url + file.remote,
            path,
            file.md5,
            way_out=f'{way_out} another folder',
        )
    elif file_md5(path) != file.md5:
        raise InputError(
            f'{path} has the MD5 {file_md5(path)}, the published {name} has '
            f'{file.md5}. Delete it to have it downloaded again; if it is '
            'your own file, load it by its path.'
        )
    return path


def check_licence(name: str, accepted: bool) -> None:
    """Ask for the licence of a published file.

    Args:
        name: The name of a file, published or not.
        accepted: Whether the user accepts PML-1.0.

    Raises:
        InputError: If the file is published under it, and that is not so.
    """
    file = PUBLISHED_FILES.get(name)
    if file is None or file.licence == 'Apache-2.0' or accepted:
        return
    raise InputError(
        f'{name} is under the licence {file.licence} (Platform Model '
        'License, shipped with the package rfdetr_plus), not Apache-2.0. '
        f"If you accept it, write '{SCHEME}{name}?{LICENCE_QUERY}=1', in "
        f'quotes in a shell, or pass {LICENCE_QUERY}=True, to rfdetr-mm '
        f'--{LICENCE_QUERY.replace("_", "-")}.'
    )


def published_address(url: str) -> str | None:
    """Return ``rfdetr://NAME`` for the web address of a published file.

    Two published files end in the same ``checkpoint_best_regular.pth``, so
    they must not be cached under the last part of their addresses.

    Args:
        url: Any address; its query is kept.

    Returns:
        The address, or None for other web addresses.
    """
    bare, _, query = url.partition('?')
    for file in PUBLISHED_FILES.values():
        if bare == BASE_URL + file.remote:
            return SCHEME + file.name + (f'?{query}' if query else '')
    return None


def hint_for_missing(path: str | os.PathLike[str]) -> str:
    """Return the end of an error message on a file that does not exist.

    rfdetr takes the bare names of published files; here a name without a
    scheme is a path.

    Args:
        path: The path that was given.

    Returns:
        ``' Did you mean rfdetr://NAME?'``, which gets the file, if ``path``
        ends in the name of a published or shipped one; else ``''``.
    """
    name = Path(path).name
    is_known = name in PUBLISHED_FILES or name in SHIPPED_FILES
    return f' Did you mean {SCHEME}{name}?' if is_known else ''


def _parse_address(address: str) -> tuple[str, bool]:
    name, _, query = address.removeprefix(SCHEME).partition('?')
    values = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    accepted = values.pop(LICENCE_QUERY, '0').lower() in ('1', 'true', 'yes')
    if values:
        raise InputError(
            f'{address} has the unknown option {next(iter(values))!r}; the '
            f'only one is {LICENCE_QUERY}=1.'
        )
    return name, accepted


def _shipped(name: str) -> Path:
    path = _SHIPPED_DIR / name
    way_out = 'Install rfdetr_mm again, or in a clone check the file out.'
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}, which comes with rfdetr_mm, is missing. {way_out}'
        )
    found, expected = file_md5(path), SHIPPED_FILES[name]
    if found != expected:
        raise InputError(
            f'{path} has the MD5 {found}, the file that comes with rfdetr_mm '
            f'has {expected}. {way_out}'
        )
    return path


def _find(name: str) -> PublishedFile:
    if name not in PUBLISHED_FILES:
        known = (*PUBLISHED_FILES, *SHIPPED_FILES)
        close = difflib.get_close_matches(name, known, 1)
        hint = f' Did you mean {close[0]}?' if close else ''
        raise InputError(
            f'{name!r} is not a published file.{hint} Published are: '
            f'{", ".join(PUBLISHED_FILES)}. {", ".join(SHIPPED_FILES)} comes '
            'with this package. A file of your own is loaded by its path or '
            'web address.'
        )
    return PUBLISHED_FILES[name]
