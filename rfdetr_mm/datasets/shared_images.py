"""Images that are trained on and evaluated on as well."""

import logging
import os
from collections.abc import Mapping

from .coco_file import log_in_main_process
from .splits import Split


def warn_of_shared_images(root: str, splits: Mapping[str, Split]) -> None:
    """Log one warning for each split that has images of the training.

    Files of one name and of one length in bytes are taken for the same;
    ``rfdetr-mm check`` compares the bytes of all files.

    Args:
        root: The folder of the data set.
        splits: What was found; nothing is said without ``train``.
    """
    if 'train' not in splits:
        return
    trained = {os.path.basename(p): p for p in _paths(root, splits['train'])}
    for name in ('val', 'test'):
        if name not in splits:
            continue
        paths = _paths(root, splits[name])
        shared = [
            path
            for path in paths
            if (other := trained.get(os.path.basename(path)))
            and _length(path) == _length(other) is not None
        ]
        if shared:
            log_in_main_process(
                f'{len(shared)} of {len(paths)} images of the split {name!r} '
                'are in the training split as well (files of one name and '
                f'length, the first one is {shared[0]}), so its AP is too '
                'good: remove them from one of the two. rfdetr-mm check '
                f'{root} lists them.',
                logging.WARNING,
            )


def _paths(root: str, split: Split) -> list[str]:
    return [
        os.path.join(root, split.image_folder, image['file_name'])
        for image in split.file.images
    ]


def _length(path: str) -> int | None:
    try:
        return os.path.getsize(path)
    except (OSError, ValueError):  # on no disk, or of a name that none takes
        return None
