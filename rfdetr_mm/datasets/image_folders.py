"""Image files that an annotation file lists, and those that are there."""

import os
import os.path as osp
from collections.abc import Sequence

from rfdetr_runtime.image_file import IMAGE_SUFFIXES


def compare_with_folders(
    paths: Sequence[str],
) -> tuple[list[str], list[str]]:
    """Compare the listed image files with those that are there.

    Args:
        paths: The paths of the listed files.

    Returns:
        Listed files that are not there, in their order, and image files in
        the same folders that are not listed, sorted, without hidden ones.
    """
    folders = {osp.dirname(path) for path in paths}
    there = {
        osp.join(folder, name)
        for folder in folders
        if osp.isdir(folder or '.')
        for name in os.listdir(folder or '.')
    }
    # Asked again, as names may be written in more than one way.
    missing = [
        path for path in paths if path not in there and not osp.isfile(path)
    ]
    unlisted = sorted(
        path
        for path in there - {*paths}
        if path.lower().endswith(IMAGE_SUFFIXES)
        and not osp.basename(path).startswith('.')
    )
    return missing, unlisted
