"""Weights by name: what Roboflow publishes, and what is shipped."""

import os
from pathlib import Path

from .sizes import FILES_OF_NO_SIZE, SIZES, PublishedFile

BASE_URL = 'https://storage.googleapis.com/rfdetr/'

_DEFAULT_CACHE_DIR = '~/.roboflow/models'

_FILES = [
    file for size in SIZES.values() for file in (size.file, *size.more_files)
]

PUBLISHED_FILES: dict[str, PublishedFile] = {
    file.name: file
    for file in (*_FILES, *FILES_OF_NO_SIZE)
    if file.remote is not None
}
"""Published file name to what is known about the file.

Source: rfdetr 1.11.2, assets/model_weights.py; rfdetr_plus 1.1.0.
"""

SHIPPED_FILES: dict[str, str] = {
    file.name: file.md5 for file in _FILES if file.remote is None
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
