"""Weights by name, as tables: what Roboflow publishes, what is shipped."""

import dataclasses
import os
from pathlib import Path

BASE_URL = 'https://storage.googleapis.com/rfdetr/'

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
    'rf-detr-tiny-shapes.pth': 'a53cf89bdef9224d862a1c17318f5c92',
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
