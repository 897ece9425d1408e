"""Weights by name: what Roboflow publishes, and what is shipped."""

import os
from dataclasses import dataclass
from pathlib import Path

from .sizes import SIZES

BASE_URL = 'https://storage.googleapis.com/rfdetr/'

_DEFAULT_CACHE_DIR = '~/.roboflow/models'


@dataclass(frozen=True)
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


# Those that no size starts from.
_OTHER_FILES = (
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
)

PUBLISHED_FILES: dict[str, PublishedFile] = {
    size.weights: PublishedFile(
        size.weights, size.remote, size.md5, size.licence
    )
    for size in SIZES.values()
    if not size.is_shipped
} | {file.name: file for file in _OTHER_FILES}
"""Published file name to what is known about the file.

Source: rfdetr 1.11.2, assets/model_weights.py; rfdetr_plus 1.1.0.
"""

SHIPPED_FILES: dict[str, str] = {
    size.weights: size.md5 for size in SIZES.values() if size.is_shipped
}
"""Name to MD5 of the weights that come with this package.

They find drawn shapes; demo/pretrain.py makes them. Apache-2.0 as all of it.
"""


def cache_dir() -> Path:
    """Return the folder of downloaded weights.

    It is rfdetr's own, so that files are shared with it: ``$RF_HOME``, else
    ``$ROBOFLOW_HOME``, else ``~/.roboflow/models``; empty counts as unset.
    """
    folder = os.environ.get('RF_HOME') or os.environ.get('ROBOFLOW_HOME')
    return Path(folder or _DEFAULT_CACHE_DIR).expanduser().absolute()
