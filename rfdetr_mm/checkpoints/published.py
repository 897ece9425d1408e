"""Weights by name: what Roboflow publishes, and what this package brings."""

import dataclasses
import difflib
import os
import urllib.parse
from pathlib import Path

from rfdetr_mm.errors import InputError

from .files import file_md5
from .transfer import download

BASE_URL = 'https://storage.googleapis.com/rfdetr/'

SCHEME = 'rfdetr://'

LICENCE_QUERY = 'accept_platform_model_license'

_DEFAULT_CACHE_DIR = '~/.roboflow/models'


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """One published checkpoint.

    Args:
        name: Its name in the cache and in ``rfdetr://…``.
        remote: Its address below ``BASE_URL``.
        md5: MD5 of its content.
        licence: ``'Apache-2.0'`` or ``'PML-1.0'``.
    """

    name: str
    remote: str
    md5: str
    licence: str = 'Apache-2.0'


_FILES = (
    PublishedFile(
        'rf-detr-base.pth',
        'rf-detr-base-coco.pth',
        'b4d3ce46099eaed50626ede388caf979',
    ),
    PublishedFile(
        'rf-detr-base-o365.pth',
        'top-secret-1234/lwdetr_dinov2_small_o365_checkpoint.pth',
        'd93f4921ccbb0f0a2e4364bed290892b',
    ),
    PublishedFile(
        'rf-detr-base-2.pth',
        'rf-detr-base-2.pth',
        '462f4d9df407ddc1812f42614040e913',
    ),
    PublishedFile(
        'rf-detr-large.pth',
        'rf-detr-large.pth',
        '992c8e862aa733a7bb2777e45d49f1a0',
    ),
    PublishedFile(
        'rf-detr-large-2026.pth',
        'rf-detr-large-2026.pth',
        '5cb72153541cbcb9aa6efa26222acc75',
    ),
    PublishedFile(
        'rf-detr-nano.pth',
        'nano_coco/checkpoint_best_regular.pth',
        'fb6504cce7fbdc783f7a46991f07639f',
    ),
    PublishedFile(
        'rf-detr-small.pth',
        'small_coco/checkpoint_best_regular.pth',
        'fb37061c1af7bace359c91b723a8d5c1',
    ),
    PublishedFile(
        'rf-detr-medium.pth',
        'medium_coco/checkpoint_best_regular.pth',
        '7223f764a87b863f02eb8d52bf0ce2ee',
    ),
    PublishedFile(
        'rf-detr-keypoint-preview-xlarge.pth',
        'rf-detr-keypoint-preview-xlarge.pth',
        '6de511943ee85a547d4c5cb527daf0eb',
    ),
    PublishedFile(
        'rf-detr-seg-preview.pt',
        'rf-detr-seg-preview.pt',
        'e35820c28fb86080558123e47a5e49ca',
    ),
    PublishedFile(
        'rf-detr-seg-nano.pt',
        'rf-detr-seg-n-ft.pth',
        '9995497791d0ff1664a1d9ddee9cfd20',
    ),
    PublishedFile(
        'rf-detr-seg-small.pt',
        'rf-detr-seg-s-ft.pth',
        '0a2a3006381d0c42853907e700eadd08',
    ),
    PublishedFile(
        'rf-detr-seg-medium.pt',
        'rf-detr-seg-m-ft.pth',
        'a49af1562c3719227ad43d0ca53b4c7a',
    ),
    PublishedFile(
        'rf-detr-seg-large.pt',
        'rf-detr-seg-l-ft.pth',
        '275f7b094909544ed2841c94a677d07e',
    ),
    PublishedFile(
        'rf-detr-seg-xlarge.pt',
        'rf-detr-seg-xl-ft.pth',
        '3693b35d0eea86ebb3e0444f4a611fba',
    ),
    PublishedFile(
        'rf-detr-seg-xxlarge.pt',
        'rf-detr-seg-2xl-ft.pth',
        '040bc3412af840fa8a47e0ff69b552ba',
    ),
    PublishedFile(
        'rf-detr-xlarge.pth',
        'platform-licensed/rf-detr-xlarge.pth',
        '6ddf834f2bc5bed3214a82f9b0aaeed7',
        'PML-1.0',
    ),
    PublishedFile(
        'rf-detr-xxlarge.pth',
        'platform-licensed/rf-detr-xxlarge.pth',
        'e3204689c1f0280427e4c33e6a2ac6cd',
        'PML-1.0',
    ),
)

PUBLISHED_FILES: dict[str, PublishedFile] = {
    file.name: file for file in _FILES
}
"""Published file name to what is known about the file.

Source: rfdetr 1.11.2, assets/model_weights.py; rfdetr_plus 1.1.0.
"""

SHIPPED_FILES: dict[str, str] = {
    'rf-detr-tiny-shapes.pth': '6f70945906f67f88e54bfe6dbf40bfdc',
}
"""Name to MD5 of the weights that come with this package.

They find drawn shapes; demo/pretrain.py makes them. Apache-2.0 as all of it.
"""

_SHIPPED_DIR = Path(__file__).with_name('weights')


def cache_dir() -> Path:
    """Return the folder of downloaded weights.

    It is rfdetr's own, so that files are shared with it: ``$RF_HOME``, else
    ``$ROBOFLOW_HOME``, else ``~/.roboflow/models``; empty counts as unset.
    """
    folder = os.environ.get('RF_HOME') or os.environ.get('ROBOFLOW_HOME')
    return Path(folder or _DEFAULT_CACHE_DIR).expanduser().absolute()


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
        ValueError: If the name is not a published one, the licence is not
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
        raise ValueError(
            f'{path} has the MD5 {file_md5(path)}, the published {name} has '
            f'{file.md5}. Delete it to have it downloaded again; if it is '
            'your own file, load it by its path.'
        )
    return path


def check_licence(name: str, accepted: bool) -> None:
    """Ask for the licence of a published file.

    Args:
        name: Of a file, published or not.
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
    for file in _FILES:
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
        raise ValueError(
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
        raise ValueError(
            f'{path} has the MD5 {found}, the file that comes with rfdetr_mm '
            f'has {expected}. {way_out}'
        )
    return path


def _find(name: str) -> PublishedFile:
    if name not in PUBLISHED_FILES:
        known = (*PUBLISHED_FILES, *SHIPPED_FILES)
        close = difflib.get_close_matches(name, known, 1)
        hint = f' Did you mean {close[0]}?' if close else ''
        raise ValueError(
            f'{name!r} is not a published file.{hint} Published are: '
            f'{", ".join(PUBLISHED_FILES)}. {", ".join(SHIPPED_FILES)} comes '
            'with this package. A file of your own is loaded by its path or '
            'web address.'
        )
    return PUBLISHED_FILES[name]
